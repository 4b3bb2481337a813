// SPDX-License-Identifier: Apache-2.0
// An HTTP server on Node.js, `GET /` is `Hello, World!`, anything else is not found:      node perf/peers/http.mjs PORT
import http from 'node:http';
import { port } from './port.mjs';

const hello = 'Hello, World!';
const headers = { 'Content-Type': 'text/plain', 'Content-Length': hello.length };

const server = http.createServer({ noDelay: true, keepAliveTimeout: 3_600_000 }, (asked, answer) => {
  if (asked.method === 'GET' && asked.url === '/') {
    answer.writeHead(200, headers).end(hello);
  } else {
    answer.writeHead(404, { 'Content-Type': 'text/plain', 'Content-Length': 0 }).end();
  }
});
server.listen({ host: '127.0.0.1', port, backlog: 4096 }, () => console.log('listening'));
