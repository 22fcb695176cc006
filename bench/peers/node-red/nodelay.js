// Small packets at once, as ours and the broker have it: with Nagle's algorithm a command waits for the ACK of the
// PUBACK before it, up to 40 ms, and where each lamp waits for its command that is what would be measured.
const { Socket } = require("net");
const connect = Socket.prototype.connect;
Socket.prototype.connect = function (...words) {
    this.setNoDelay(true);
    return connect.apply(this, words);
};
