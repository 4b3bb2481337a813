// SPDX-License-Identifier: Apache-2.0
// An echo server on Node.js:      node perf/peers/echo.mjs PORT
// write() says false when what is unsent passes the high-water mark; until it has left nothing more is read. (pipe()
// does the same, a little slower.)
import net from 'node:net';
import { port } from './port.mjs';

const server = net.createServer({ noDelay: true }, (peer) => {
  peer.on('data', (bytes) => {
    if (!peer.write(bytes)) peer.pause();
  });
  peer.on('drain', () => peer.resume());
  peer.on('error', () => peer.destroy());
});
server.listen({ host: '127.0.0.1', port, backlog: 4096 }, () => console.log('listening'));
