/* A server that takes what thingsboard-gateway sends up, and counts it: what is published to, so that it is not what
 * is measured.
 *
 *     mqtt_sink COUNTS
 *
 * Its port is said on stdout, one line: "port P". It speaks as much of MQTT 3.1.1 and 5 as that client needs:
 * every publish at QoS 1 is acknowledged at once, and its request for the session's limits is answered as a server
 * without any does. COUNTS is a file of three little-endian uint64, always as they stand now: readings, publishes and
 * payload bytes on v1/gateway/telemetry.
 *
 * Bounds: 8 connections, packets of 4 MiB.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 8, ROOM = 1 << 22 };
enum { CONNECT = 1, PUBLISH = 3, SUBSCRIBE = 8, UNSUBSCRIBE = 10, PINGREQ = 12 };

struct counts {
    uint64_t readings, publishes, bytes;
};

struct client {
    int fd, version;
    size_t have;
    uint8_t *held;
};

static struct counts *counts;

static const char TELEMETRY[] = "v1/gateway/telemetry", ASKS[] = "v1/devices/me/rpc/request/";
static const char LIMITS[] =
    "{\"maxPayloadSize\":65536,\"maxInflightMessages\":100,\"rateLimits\":{},\"gatewayRateLimits\":{}}";

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void say(struct client *client, const void *what, size_t size)
{
    if (send(client->fd, what, size, MSG_NOSIGNAL) != (ssize_t)size)
        fail("send"); /* a few bytes each, to a client that reads */
}

/* {"device": [{"ts": T, "values": {"point": V, ...}}, ...]}: a colon at depth 4 is a reading. */
static uint64_t readings(const uint8_t *at, const uint8_t *end)
{
    int depth = 0;
    uint64_t found = 0;
    for (; at < end; at++)
        switch (*at) {
        case '"':
            for (at++; at < end && *at != '"'; at++)
                at += *at == '\\';
            break;
        case '{':
        case '[':
            depth++;
            break;
        case ':':
            found += depth == 4;
            break;
        case '}':
        case ']':
            depth--;
        }
    return found;
}

static void published(struct client *client, int flags, uint8_t *at, uint8_t *end)
{
    size_t topic_size = (size_t)at[0] << 8 | at[1];
    const char *topic = (const char *)at + 2;
    at += 2 + topic_size;
    if (flags >> 1 & 3) {
        uint8_t ack[4] = {0x40, 2, at[0], at[1]};
        say(client, ack, sizeof ack);
        at += 2;
    }
    if (client->version == 5)
        at += 1 + *at; /* properties: this client sends none of 128 bytes */
    if (topic_size == sizeof TELEMETRY - 1 && memcmp(topic, TELEMETRY, topic_size) == 0) {
        counts->publishes++;
        counts->bytes += (uint64_t)(end - at);
        counts->readings += readings(at, end);
    } else if (topic_size > sizeof ASKS - 1 && memcmp(topic, ASKS, sizeof ASKS - 1) == 0) {
        char name[64], packet[256];
        int named = snprintf(name, sizeof name, "v1/devices/me/rpc/response/%.*s",
                             (int)(topic_size - sizeof ASKS + 1), topic + sizeof ASKS - 1);
        int properties = client->version == 5, size = 2 + named + properties + (int)sizeof LIMITS - 1, head = 2;
        packet[0] = 0x30;
        packet[1] = (char)(size < 128 ? size : (size & 127) | 128);
        if (size >= 128)
            packet[head++] = (char)(size >> 7);
        packet[head] = 0, packet[head + 1] = (char)named;
        memcpy(packet + head + 2, name, (size_t)named);
        if (properties)
            packet[head + 2 + named] = 0;
        memcpy(packet + head + 2 + named + properties, LIMITS, sizeof LIMITS - 1);
        say(client, packet, (size_t)(head + size));
    }
}

static void taken(struct client *client, uint8_t head, uint8_t *at, uint8_t *end)
{
    uint8_t answer[64];
    size_t size = 0;
    switch (head >> 4) {
    case CONNECT:
        client->version = at[6];
        memcpy(answer, client->version == 5 ? "\x20\x03\0\0\0" : "\x20\x02\0\0", 5);
        say(client, answer, client->version == 5 ? 5 : 4);
        break;
    case PUBLISH:
        published(client, head & 15, at, end);
        break;
    case SUBSCRIBE:
    case UNSUBSCRIBE: /* this client asks for one topic at a time */
        answer[size++] = head >> 4 == SUBSCRIBE ? 0x90 : 0xb0;
        answer[size++] = client->version == 5 ? 4 : 3;
        answer[size++] = at[0], answer[size++] = at[1];
        if (client->version == 5)
            answer[size++] = 0;
        answer[size++] = head >> 4 == SUBSCRIBE; /* granted: QoS 1 */
        say(client, answer, size);
        break;
    case PINGREQ:
        say(client, "\xd0\0", 2);
    }
}

/* Take all whole packets; false at the end of the connection. */
static int reads(struct client *client)
{
    ssize_t got = recv(client->fd, client->held + client->have, ROOM - client->have, 0);
    if (got <= 0)
        return 0;
    client->have += (size_t)got;
    size_t start = 0;
    for (;;) {
        size_t length = 0, at = start + 1;
        int shift = 0;
        while (at < client->have && client->held[at] & 128)
            length |= (size_t)(client->held[at++] & 127) << shift, shift += 7;
        if (at >= client->have)
            break;
        length |= (size_t)client->held[at++] << shift;
        if (at + length > client->have)
            break;
        taken(client, client->held[start], client->held + at, client->held + at + length);
        start = at + length;
    }
    client->have -= start;
    memmove(client->held, client->held + start, client->have);
    return client->have < ROOM;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: mqtt_sink COUNTS\n");
        return 2;
    }
    int file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || ftruncate(file, sizeof *counts) < 0)
        fail(argv[1]);
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counts == MAP_FAILED)
        fail("mmap");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct pollfd polled[CONNECTIONS + 1] = {{.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN}};
    struct client clients[CONNECTIONS + 1] = {0};
    if (polled[0].fd < 0 || bind(polled[0].fd, (struct sockaddr *)&address, size) < 0 || listen(polled[0].fd, 8) < 0)
        fail("listen");
    getsockname(polled[0].fd, (struct sockaddr *)&address, &size);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (int i = 1; i <= CONNECTIONS; i++)
        polled[i] = (struct pollfd){.fd = -1, .events = POLLIN};

    for (;;) {
        if (poll(polled, CONNECTIONS + 1, -1) < 0)
            fail("poll");
        for (int i = 1; i <= CONNECTIONS; i++)
            if (polled[i].fd >= 0 && polled[i].revents && !reads(&clients[i])) {
                close(polled[i].fd);
                polled[i].fd = -1;
            }
        for (int i = 1; i <= CONNECTIONS && polled[0].revents; i++)
            if (polled[i].fd < 0) {
                polled[i].fd = accept(polled[0].fd, NULL, NULL);
                polled[i].revents = 0;
                setsockopt(polled[i].fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
                uint8_t *room = clients[i].held ? clients[i].held : malloc(ROOM);
                if (polled[i].fd < 0 || room == NULL)
                    fail("accept");
                clients[i] = (struct client){.fd = polled[i].fd, .held = room};
                break;
            }
    }
}
