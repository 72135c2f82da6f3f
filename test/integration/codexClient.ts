import { connect } from 'node:net';
import { WebSocket } from 'ws';

interface Message {
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: unknown;
  readonly result?: unknown;
  readonly error?: { code: number; message: string; data?: { reason: string } };
}

/** A client of the app-server's protocol that a test speaks itself: it knows nothing of Baton. */
export class CodexClient {
  readonly heard: Message[] = [];
  /** Resolves when the connection has ended. */
  readonly closed: Promise<unknown>;
  private next = 0;
  private readonly waiting = new Map<string, (answer: Message) => void>();
  private onMessage: () => void = () => undefined;

  private constructor(readonly socket: WebSocket) {
    this.closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as Message;
      if (message.method === undefined) this.waiting.get(String(message.id))?.(message);
      else this.heard.push(message);
      this.onMessage();
    });
  }

  static async open(socketPath: string | null): Promise<CodexClient> {
    const socket = new WebSocket('ws://localhost/', { createConnection: () => connect(socketPath ?? '') });
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    const client = new CodexClient(socket);
    await client.request('initialize', { clientInfo: { name: 'test', version: '0' }, capabilities: { experimentalApi: true } });
    socket.send('{"method":"initialized"}');
    return client;
  }

  async request(method: string, params: object | null = {}): Promise<Message> {
    const id = `q${this.next++}`;
    const answer = new Promise<Message>((resolve) => this.waiting.set(id, resolve));
    this.socket.send(JSON.stringify({ id, method, params }));
    return await answer;
  }

  /** A message from the host that fits, which is already there, or as soon as it is. */
  async hears(method: string, fits: (params: unknown) => boolean = () => true): Promise<Message> {
    for (;;) {
      const arrived = new Promise<void>((resolve) => (this.onMessage = resolve));
      const found = this.heard.find((message) => message.method === method && fits(message.params));
      if (found !== undefined) return found;
      await arrived;
    }
  }
}
