// hello-node: a web app in Node without any package. Roost gives it PORT, and
// stops it with SIGTERM.
'use strict';

const http = require('node:http');

const { PORT, ROOST_PATH_BASE = '', ROOST_INSTANCE = 'none' } = process.env;
if (!PORT) {
  console.error('hello-node: PORT is not set: start this under Roost, or with PORT=8000 node server.js');
  process.exit(1);
}

const server = http.createServer((req, res) => {
  res.setHeader('Content-Type', 'text/plain; charset=utf-8');
  res.end(`Hello from Node ${process.version}: ${req.method} ${req.url}\n` +
    `below "${ROOST_PATH_BASE}", instance ${ROOST_INSTANCE}, pid ${process.pid}, for ${req.headers['x-forwarded-for']}\n`);
});

// Node's default of 5 seconds closes connections that the proxy may just be about to use again.
server.keepAliveTimeout = 75_000;

server.listen(Number(PORT), '127.0.0.1', () => {
  console.log(`hello-node: listening on 127.0.0.1:${PORT}`);
});

function stop() {
  console.log('hello-node: stopping');
  server.close(); // no new ones; the process ends when the open requests have
  server.closeIdleConnections();
}
process.once('SIGTERM', stop);
process.once('SIGINT', stop);
