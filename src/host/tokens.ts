import type { Environment } from './home';
import { HostError } from './hostError';
import { tokenName } from './identifiers';

const LEAST_CHARACTERS = 32;

/** Takes the tokens out of an environment, which is changed: what is started with it afterwards does not have them. */
export function takeTokens(env: Record<string, string | undefined>): Environment {
  const names = Object.keys(env).filter((name) => tokenName.safeParse(name).success);
  const taken = Object.fromEntries(names.map((name) => [name, env[name]]));
  for (const name of names) Reflect.deleteProperty(env, name);
  return taken;
}

/** The token in a variable. Throws HostError `token-missing`, which says nothing of what is in it. */
export function requireToken(tokens: Environment, name: string): string {
  const token = tokens[name];
  if (token === undefined || token === '') throw new HostError('token-missing', `The host was started without ${name}. Set it, end the host with "baton stop", and try again.`);
  if (token.length < LEAST_CHARACTERS || !/^[\x21-\x7e]+$/.test(token)) throw new HostError('token-missing', `What is in ${name} is no token: it has at least ${LEAST_CHARACTERS} visible ASCII characters, as "openssl rand -base64 33" makes them.`);
  return token;
}
