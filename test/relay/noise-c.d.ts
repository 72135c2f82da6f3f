/** What these tests use of the Noise implementation of rweather/noise-c, compiled to WebAssembly: an independent one, in C. */
interface NoiseCCipherState {
  EncryptWithAd(associatedData: Uint8Array, plaintext: Uint8Array): Uint8Array;
  DecryptWithAd(associatedData: Uint8Array, ciphertext: Uint8Array): Uint8Array;
}

interface NoiseCHandshakeState {
  Initialize(prologue: Uint8Array | null, s: Uint8Array | null, rs: Uint8Array | null, psk: Uint8Array | null): void;
  GetAction(): number;
  WriteMessage(payload: Uint8Array): Uint8Array;
  ReadMessage(message: Uint8Array, payloadNeeded: true): Uint8Array;
  GetHandshakeHash(): Uint8Array;
  GetRemotePublicKey(): Uint8Array;
  /** The cipher that sends, then the one that receives. */
  Split(): [NoiseCCipherState, NoiseCCipherState];
}

interface NoiseC {
  readonly constants: { readonly NOISE_ROLE_INITIATOR: number; readonly NOISE_ROLE_RESPONDER: number; readonly NOISE_ACTION_SPLIT: number };
  HandshakeState(protocolName: string, role: number): NoiseCHandshakeState;
}

declare module 'noise-c.wasm' {
  const createNoise: (callback: (noise: NoiseC) => void) => void;
  export = createNoise;
}

/** A later build of the same, which has the psk modifiers, and no BLAKE2s. */
declare module '@richardhopton/noise-c.wasm' {
  const createNoise: (callback: (noise: NoiseC) => void) => void;
  export = createNoise;
}
