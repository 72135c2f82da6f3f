import type { WebSocket } from 'ws';
import type { Admission } from './relayAdmission';
import { greet, type GreetingOptions } from './relayGreeting';
import { exchangeRequest } from './relayMessages';
import { CloseCode } from './webSocketStream';

/** Gives a host what it has a right to once it has proven its key: a token, a pass for its invite, or a grant for another host. */
export function exchange(socket: WebSocket, hostId: string, admission: Admission, options: GreetingOptions): void {
  greet(socket, hostId, exchangeRequest, options, (request) => {
    const given = admission.exchange(hostId, request);
    options.log({ event: given === undefined ? 'permit-refused' : 'permit-given', hostId, ...(request.want.kind === 'grant' ? { forHostId: request.want.hostId } : {}) });
    if (given === undefined) {
      socket.close(CloseCode.notAdmitted);
      return;
    }
    socket.send(JSON.stringify({ type: 'permit', ...given }));
    socket.close(CloseCode.ended);
  });
}
