import createDOMPurify from 'dompurify';
import MarkdownIt from 'markdown-it';

const markdown = new MarkdownIt({ html: false, linkify: false, breaks: false });
// An image is a request that tells its server who reads; the policy of the page forbids it, so show what it is instead.
markdown.disable('image');
markdown.validateLink = (url) => /^(https?:|mailto:)/i.test(url);

const purify = createDOMPurify(window);
const ALLOWED_TAGS = ['p', 'br', 'hr', 'em', 'strong', 's', 'code', 'pre', 'blockquote', 'ul', 'ol', 'li', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'table', 'thead', 'tbody', 'tr', 'th', 'td', 'a'];

/**
 * Markdown from an agent or a user as a DOM fragment: no HTML of theirs, no image, no style, no link but http, https and
 * mailto. Rendered without HTML and sanitised again, because neither alone is to be trusted with hostile text.
 */
export function markdownFragment(source: string): DocumentFragment {
  return purify.sanitize(markdown.render(source), { ALLOWED_TAGS, ALLOWED_ATTR: ['href', 'start'], ALLOWED_URI_REGEXP: /^(https?:|mailto:)/i, RETURN_DOM_FRAGMENT: true });
}
