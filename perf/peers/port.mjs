// SPDX-License-Identifier: Apache-2.0
// The one argument of a server.
export const port = Number(process.argv[2]);
if (!(process.argv.length === 3 && Number.isInteger(port) && port > 0 && port <= 65535)) {
  console.error(`usage: node ${process.argv[1]} PORT`);
  process.exit(1);
}
