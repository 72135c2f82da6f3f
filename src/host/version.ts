declare const BATON_VERSION: string;

/** Version of this build; the bundler puts in the one of package.json. */
export const batonVersion = typeof BATON_VERSION === 'string' ? BATON_VERSION : '0.0.0-source';
