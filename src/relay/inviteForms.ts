/** The two forms of an invite, for whoever has to tell them apart before reading one: this file needs nothing else. */

/** A link begins so. What follows the `#` is a URL's fragment, which nobody sends anywhere who is given the link to open. */
export const LINK_SCHEME = 'baton:join#';

/** Whether a text is meant as a link. */
export const looksLikeLink = (text: string): boolean => text.trim().startsWith(LINK_SCHEME);

/** Whether a text is meant as a code rather than as a link. */
export const looksLikeCode = (text: string): boolean => /^\s*[A-Za-z]+[\s-]+[A-Za-z]+[\s-]+\d+\s*$/.test(text);
