// Asks `HOST:PORT`s on loopback for a TLS handshake, as tls verifies them; says for each how it went.
const tls = require('tls');

for (const asked of process.argv.slice(2)) {
    const [host, port] = asked.split(':');
    const socket = tls.connect({ host: '127.0.0.1', port: Number(port), servername: host }, () => {
        console.log('accepted', asked);
        socket.destroy();
    });
    socket.on('error', error => console.log('refused', asked, error.message));
}
