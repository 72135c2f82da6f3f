import type { z } from 'zod';
import { systemClock, type Clock } from './clock';
import { hostIdOf, type KeyPair } from './keys';
import { proveSecret } from './relayAdmission';
import { connectTo, CONNECT_TIMEOUT_MS, notAdmitted, onRefusal } from './relayEndpoint';
import { RelayError } from './relayError';
import { MAX_MESSAGE_BYTES, readMessage, toMember, type ExchangeRequest } from './relayMessages';
import { proveKey } from './relayProof';
import { CloseCode } from './webSocketStream';

/** By what right a host uses a relay: it knows the relay's secret, or has a grant of the relay or of an issuer. */
export type RelayCredential = { readonly secret: string } | { readonly grant: string };

/** Where tokens come from; undefined where there is none to show. */
export interface TokenSource {
  token(): Promise<string | undefined>;
  forget(): void;
}

/** A token is replaced so long before it ends; a dial that begins then may still take its time. */
const RENEW_MS = 60_000;

type Permit = Extract<z.infer<typeof toMember>, { type: 'permit' }>;

/** A host's right to use one relay: it is exchanged for tokens that live some minutes, and never sent itself where it is a secret. */
export class RelayMembership implements TokenSource {
  readonly #clock: Clock;
  #token: { readonly value: Promise<string | undefined>; until: number } | undefined;

  constructor(
    private readonly options: {
      readonly url: string;
      readonly keyPair: KeyPair;
      /** Asked for with each exchange, so that it can change meanwhile. */
      readonly credential: () => Promise<RelayCredential>;
      /** The relay put another grant in the place of the one that was shown. */
      readonly onGrant?: (grant: string) => Promise<void>;
      readonly clock?: Clock;
    },
  ) {
    this.#clock = options.clock ?? systemClock;
  }

  /** A token that registers this host and lets it dial; undefined where the relay wants none. Throws `not-admitted`, `relay-unreachable`, `relay-refused`, or what `credential` throws. */
  token(): Promise<string | undefined> {
    if (this.#token !== undefined && this.#clock.now() < this.#token.until) return this.#token.value;
    const asked = this.#ask({ kind: 'token' });
    const token = { value: asked.then((permit) => permit?.permit), until: Infinity };
    this.#token = token;
    asked.then(
      (given) => {
        const lifetimeMs = given?.lifetimeMs ?? RENEW_MS;
        token.until = this.#clock.now() + lifetimeMs - Math.min(RENEW_MS, lifetimeMs / 2);
        // One that could not be kept is offered again with the next token.
        if (given?.grant !== undefined) this.options.onGrant?.(given.grant).catch(() => undefined);
      },
      () => {
        if (this.#token === token) this.forget();
      },
    );
    return token.value;
  }

  /** Asks for another token next time: the relay did not take this one. */
  forget(): void {
    this.#token = undefined;
  }

  /** What lets whoever has it dial this host, for as long as an invite lives. As `token`. */
  async pass(): Promise<string | undefined> {
    return (await this.#ask({ kind: 'pass' }))?.permit;
  }

  /** What another host can exchange for tokens of its own. As `token`; it throws `not-admitted` also where only an issuer lets hosts in. */
  async grantFor(hostId: string): Promise<string | undefined> {
    return (await this.#ask({ kind: 'grant', hostId }))?.permit;
  }

  async #ask(want: ExchangeRequest['want']): Promise<Permit | undefined> {
    const { url, keyPair } = this.options;
    const credential = await this.options.credential();
    return new Promise((resolve, reject) => {
      const socket = connectTo(url, `v1/token/${hostIdOf(keyPair.publicKey)}`, { maxPayload: MAX_MESSAGE_BYTES });
      const fail = (error: RelayError): void => {
        stopTimer();
        reject(error);
        socket.terminate();
      };
      const stopTimer = this.#clock.after(CONNECT_TIMEOUT_MS, () => fail(new RelayError('relay-unreachable', `The relay ${url} did not give a token in time.`)));
      socket.on('error', (cause) => fail(new RelayError('relay-unreachable', `The relay ${url} cannot be reached: ${cause.message}`, { cause })));
      onRefusal(socket, (status) => {
        // It lets everybody in.
        if (status === 404) resolve(undefined);
        fail(new RelayError('relay-refused', `The relay ${url} gave no token (status ${status})${status === 429 ? ': there were too many requests. Try again in a minute' : status === 503 ? ': it is about to end. Try again in a minute' : ''}.`));
      });
      socket.on('message', (raw, isBinary) => {
        const message = readMessage(toMember, raw, isBinary);
        if (message?.type === 'permit') {
          stopTimer();
          resolve(message);
          socket.close(CloseCode.ended);
          return;
        }
        try {
          if (message === undefined) throw new RelayError('relay-refused', `The relay ${url} did not say what a relay says.`);
          const proof = proveKey(keyPair, message);
          socket.send(JSON.stringify({ ...proof, by: 'secret' in credential ? { secret: proveSecret(credential.secret, proof.mac) } : credential, want } satisfies ExchangeRequest));
        } catch (cause) {
          fail(new RelayError('relay-refused', `The relay ${url} did not say what a relay says.`, { cause }));
        }
      });
      // After an answer this comes too late to change anything.
      socket.once('close', (code) => fail(code === CloseCode.notAdmitted ? new RelayError('not-admitted', notAdmitted(url)) : new RelayError('relay-unreachable', `The relay ${url} gave no token (close code ${code}).`)));
    });
  }
}
