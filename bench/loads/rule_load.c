/* Messages in, answers out: how long each answer takes, by one clock.
 *
 *     rule_load PORT PER_SECOND COUNT DEVICES ANSWERS
 *
 * Publishes COUNT messages {"n": N, "level": 77.5} at QoS 1, evenly spaced, to lamps/lampNN/state in turn at the broker
 * on PORT (MQTT 3.1.1), and takes what comes on lamps/+/ANSWERS at QoS 0 over a second connection, where each {"n": N}
 * answers the message of that number. With ANSWERS = state they come from the broker itself: the bare round trip. The
 * first message has a level of 7.5, below the threshold. SIGTERM ends it early. The first tenth is warm-up. At the end
 * one line:
 *
 *     sent S answered A twice D below B p50_us X p99_us Y worst_us Z behind_us W
 *
 * `below` says whether the first was answered, `behind` by how much the worst publish was late itself.
 *
 * Bounds: 1,000,000 messages; it waits 3 s for the last answer. Any failure ends it with a word.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_COUNT = 1000000, BUFFER = 1 << 18, CONNACK = 2, PUBLISH = 3, SUBACK = 9 };
static const int64_t NS_A_S = 1000000000, LAST_NS = 3000000000;

struct connection {
    int socket;
    size_t have;
    uint8_t buffer[BUFFER];
};

static int64_t *sent_ns, *took_ns;
static int count, answered, twice;
static volatile sig_atomic_t ended;

static void end(int number)
{
    (void)number;
    ended = 1;
}

static void fail(const char *what)
{
    fprintf(stderr, "rule_load: %s: %s\n", what, errno ? strerror(errno) : "refused");
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_A_S + now.tv_nsec;
}

static void write_all(int socket, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t done = send(socket, bytes, length, MSG_NOSIGNAL);
        if (done < 0)
            fail("send");
        bytes += done;
        length -= (size_t)done;
    }
}

static size_t put_text(uint8_t *at, const char *text)
{
    size_t length = strlen(text);
    at[0] = (uint8_t)(length >> 8);
    at[1] = (uint8_t)length;
    memcpy(at + 2, text, length);
    return length + 2;
}

static void answer(const uint8_t *payload, size_t length, int64_t now)
{
    char text[64] = {0};
    memcpy(text, payload, length < sizeof text ? length : sizeof text - 1);
    const char *at = strstr(text, "\"n\"");
    at = at ? strchr(at, ':') : NULL;
    int n = at ? atoi(at + 1) : -1;
    if (n < 0 || n >= count || sent_ns[n] == 0)
        fail("an answer to nothing");
    if (took_ns[n]) {
        twice++;
    } else {
        took_ns[n] = now - sent_ns[n];
        answered++;
    }
}

/* Takes what whole packets have come; the kind of the last of them, 0 where there is none. */
static int take(struct connection *from)
{
    ssize_t got = recv(from->socket, from->buffer + from->have, BUFFER - from->have, 0);
    if (got <= 0)
        fail("the broker went away");
    int64_t now = now_ns();
    from->have += (size_t)got;
    size_t at = 0;
    int kind = 0;
    for (;;) {
        size_t length = 0, head = at + 1;
        int shift = 0, whole = 0;
        while (head < from->have && shift < 28 && !whole) {
            length |= (size_t)(from->buffer[head] & 127) << shift;
            whole = !(from->buffer[head++] & 128);
            shift += 7;
        }
        if (!whole || head + length > from->have)
            break;
        const uint8_t *body = from->buffer + head;
        kind = from->buffer[at] >> 4;
        if ((kind == CONNACK && body[1]) || (kind == SUBACK && body[2] & 128)) {
            errno = 0;
            fail("the broker");
        }
        if (kind == PUBLISH) {
            size_t topic = (size_t)(body[0] << 8 | body[1]) + 2 + (from->buffer[at] & 6 ? 2 : 0);
            answer(body + topic, length - topic, now);
        }
        at = head + length;
    }
    memmove(from->buffer, from->buffer + at, from->have -= at);
    return kind;
}

static void connected(struct connection *to, int port, const char *name)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (to->socket < 0 || connect(to->socket, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    setsockopt(to->socket, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    uint8_t packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0};
    size_t length = 12 + put_text(packet + 12, name);
    packet[1] = (uint8_t)(length - 2);
    write_all(to->socket, packet, length);
    while (take(to) != CONNACK) {
    }
}

static void subscribe(struct connection *to, const char *topic)
{
    uint8_t packet[128] = {0x82, 0, 0, 1};
    size_t length = 4 + put_text(packet + 4, topic);
    packet[length++] = 0; /* QoS 0 */
    packet[1] = (uint8_t)(length - 2);
    write_all(to->socket, packet, length);
    while (take(to) != SUBACK) {
    }
}

static void publish(struct connection *to, int n, int devices)
{
    char topic[32], body[64];
    snprintf(topic, sizeof topic, "lamps/lamp%02d/state", n % devices);
    int size = snprintf(body, sizeof body, "{\"n\": %d, \"level\": %s}", n, n == 0 ? "7.5" : "77.5");
    uint8_t packet[128] = {0x32, 0};
    size_t length = 2 + put_text(packet + 2, topic);
    packet[length++] = (uint8_t)((n % 65535 + 1) >> 8);
    packet[length++] = (uint8_t)(n % 65535 + 1);
    memcpy(packet + length, body, (size_t)size);
    length += (size_t)size;
    packet[1] = (uint8_t)(length - 2);
    sent_ns[n] = now_ns();
    write_all(to->socket, packet, length);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: rule_load PORT PER_SECOND COUNT DEVICES ANSWERS\n");
        return 2;
    }
    int port = atoi(argv[1]), per_second = atoi(argv[2]), devices = atoi(argv[4]);
    count = atoi(argv[3]);
    if (per_second < 1 || count < 10 || count > MAX_COUNT || devices < 1 || devices > 100) {
        fprintf(stderr, "rule_load: COUNT 10 to %d, DEVICES 1 to 100\n", MAX_COUNT);
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1);
    static struct connection devices_side, lamps_side;
    sent_ns = calloc((size_t)count, sizeof *sent_ns);
    took_ns = calloc((size_t)count, sizeof *took_ns);
    char topic[64];
    snprintf(topic, sizeof topic, "lamps/+/%s", argv[5]);
    connected(&devices_side, port, "rule-in");
    connected(&lamps_side, port, "rule-out");
    subscribe(&lamps_side, topic);

    struct pollfd polled[2] = {{devices_side.socket, POLLIN, 0}, {lamps_side.socket, POLLIN, 0}};
    int64_t began = now_ns(), behind = 0, last = 0;
    int sent = 0, own = strcmp(argv[5], "state") == 0;
    signal(SIGTERM, end);
    while (sent < count || (answered < count - !own && now_ns() < last + LAST_NS)) {
        if (ended)
            count = sent;
        int64_t due = began + sent * NS_A_S / per_second, now = now_ns();
        if (sent < count && now >= due) {
            behind = now - due > behind ? now - due : behind;
            publish(&devices_side, sent++, devices);
            last = now;
            continue;
        }
        int64_t wait = sent < count ? due - now : NS_A_S / 100;
        struct timespec most = {wait / NS_A_S, wait % NS_A_S};
        int ready = ppoll(polled, 2, &most, NULL);
        if (ready < 0 && errno != EINTR)
            fail("poll");
        if (ready > 0 && polled[0].revents)
            take(&devices_side);
        if (ready > 0 && polled[1].revents)
            take(&lamps_side);
    }
    int first = count / 10, kept = 0, below = took_ns[0] != 0;
    for (int n = first; n < count; n++)
        if (took_ns[n])
            took_ns[first + kept++] = took_ns[n];
    if (kept == 0) {
        errno = 0;
        fail("no answer at all");
    }
    qsort(took_ns + first, (size_t)kept, sizeof *took_ns, by_size);
    printf("sent %d answered %d twice %d below %d p50_us %.1f p99_us %.1f worst_us %.1f behind_us %.1f\n", sent, answered,
           twice, below, (double)took_ns[first + kept / 2] / 1e3, (double)took_ns[first + kept * 99 / 100] / 1e3,
           (double)took_ns[first + kept - 1] / 1e3, (double)behind / 1e3);
    return 0;
}
