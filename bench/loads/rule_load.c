/* Lamps that say what they are, and are told what to be: how long each answer takes, by one clock.
 *
 *     rule_load PORT PER_SECOND COUNT DEVICES ANSWERS
 *
 * Publishes COUNT messages {"n": N, "level": L} at QoS 1, evenly spaced, to lamps/lampNN/state at the broker on PORT
 * (MQTT 3.1.1), each lamp at its own turn, and takes what comes on lamps/+/ANSWERS at QoS 0 over a second connection.
 * The levels of a lamp are 77.5 and 7.5 by turns; at the first it is to be told {"n": 1}, at the second {"n": 0}, and N
 * is what it was told last, 0 before. So each message asks for exactly one command. One message a lamp is under way:
 * one whose turn comes before the last was answered is held back, and then counts from its turn, so that one long wait
 * is not one slow answer only. With ANSWERS = state what comes back is what was published: the bare round trip. SIGTERM
 * ends it early. The first tenth is warm-up. At the end one line:
 *
 *     sent S answered A extra E wrong W held H p50_us X p99_us Y worst_us Z behind_us B
 *
 * `extra` are answers to nothing, `wrong` those with another value, `held` messages that were held back; `behind` is by
 * how much the worst of the others was late itself.
 *
 * Bounds: 1,000,000 messages, 100 lamps; it waits 3 s for the last answer, and then 0.3 s for what nobody asked for. Any
 * failure ends it with a word.
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
enum { MAX_LAMPS = 100 };
static const int64_t NS_A_S = 1000000000, LAST_NS = 3000000000, EXTRA_NS = 300000000;

struct connection {
    int socket;
    size_t have;
    uint8_t buffer[BUFFER];
};

struct lamp {
    int n, wanted, messages; /* what it was told last, and is to be told */
    int under_way, waits;    /* which message, -1 for none; whether its turn has come and it is held back */
    int64_t from_ns;
};

static struct lamp lamps[MAX_LAMPS];
static int64_t *took_ns;
static int lamp_count, echo, answered, extra, wrong, held;
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

static void answer(const uint8_t *topic, size_t topic_length, const uint8_t *payload, size_t length, int64_t now)
{
    char name[64] = {0}, text[64] = {0};
    memcpy(name, topic, topic_length < sizeof name ? topic_length : sizeof name - 1);
    memcpy(text, payload, length < sizeof text ? length : sizeof text - 1);
    int number = -1;
    const char *at = strstr(text, "\"n\"");
    at = at ? strchr(at, ':') : NULL;
    if (sscanf(name, "lamps/lamp%d/", &number) != 1 || number < 0 || number >= lamp_count || !at) {
        errno = 0;
        fail("an answer that is none");
    }
    struct lamp *lamp = &lamps[number];
    if (lamp->under_way < 0) {
        extra++;
        return;
    }
    if (!echo && atoi(at + 1) != lamp->wanted)
        wrong++;
    took_ns[lamp->under_way] = now - lamp->from_ns;
    lamp->n = lamp->wanted;
    lamp->under_way = -1;
    answered++;
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
            size_t topic = (size_t)(body[0] << 8 | body[1]), begin = topic + 2 + (from->buffer[at] & 6 ? 2 : 0);
            answer(body + 2, topic, body + begin, length - begin, now);
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

static void publish(struct connection *to, int number, int message, int64_t from_ns)
{
    struct lamp *lamp = &lamps[number];
    int above = lamp->messages++ % 2 == 0;
    char topic[32], body[64];
    snprintf(topic, sizeof topic, "lamps/lamp%02d/state", number);
    int size = snprintf(body, sizeof body, "{\"n\": %d, \"level\": %s}", lamp->n, above ? "77.5" : "7.5");
    uint8_t packet[128] = {0x32, 0};
    size_t length = 2 + put_text(packet + 2, topic);
    packet[length++] = (uint8_t)((message % 65535 + 1) >> 8);
    packet[length++] = (uint8_t)(message % 65535 + 1);
    memcpy(packet + length, body, (size_t)size);
    length += (size_t)size;
    packet[1] = (uint8_t)(length - 2);
    lamp->wanted = above;
    lamp->under_way = message;
    lamp->from_ns = from_ns;
    lamp->waits = 0;
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
    int port = atoi(argv[1]), per_second = atoi(argv[2]), count = atoi(argv[3]);
    lamp_count = atoi(argv[4]);
    if (per_second < 1 || count < 10 || count > MAX_COUNT || lamp_count < 1 || lamp_count > MAX_LAMPS) {
        fprintf(stderr, "rule_load: COUNT 10 to %d, DEVICES 1 to %d\n", MAX_COUNT, MAX_LAMPS);
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1);
    static struct connection devices_side, lamps_side;
    took_ns = calloc((size_t)count, sizeof *took_ns);
    if (!took_ns)
        fail("memory");
    for (int i = 0; i < lamp_count; i++)
        lamps[i].under_way = -1;
    echo = strcmp(argv[5], "state") == 0;
    char topic[64];
    snprintf(topic, sizeof topic, "lamps/+/%s", argv[5]);
    connected(&devices_side, port, "rule-in");
    connected(&lamps_side, port, "rule-out");
    subscribe(&lamps_side, topic);

    struct pollfd polled[2] = {{devices_side.socket, POLLIN, 0}, {lamps_side.socket, POLLIN, 0}};
    int64_t began = now_ns(), behind = 0, until = 0, moved = began;
    int sent = 0, before = 0;
    signal(SIGTERM, end);
    for (;;) {
        int64_t wait = NS_A_S / 100, now = now_ns();
        if (ended)
            count = sent;
        for (int i = 0; i < lamp_count && sent < count; i++) {
            struct lamp *lamp = &lamps[i];
            int64_t due = began + ((int64_t)lamp->messages * lamp_count + i) * NS_A_S / per_second;
            if (now < due) {
                wait = due - now < wait ? due - now : wait;
            } else if (lamp->under_way >= 0) {
                held += !lamp->waits;
                lamp->waits = 1;
            } else {
                if (!lamp->waits)
                    behind = now - due > behind ? now - due : behind;
                publish(&devices_side, i, sent++, lamp->waits ? due : now);
                now = now_ns();
            }
        }
        if (answered + sent != before) {
            before = answered + sent;
            moved = now;
        }
        if (now > moved + LAST_NS)
            break; /* an answer that never comes */
        if (sent == count && answered == sent) {
            until = until ? until : now + EXTRA_NS;
            if (now >= until)
                break;
        }
        struct timespec most = {wait / NS_A_S, wait % NS_A_S};
        int ready = ppoll(polled, 2, &most, NULL);
        if (ready < 0 && errno != EINTR)
            fail("poll");
        if (ready > 0 && polled[0].revents)
            take(&devices_side);
        if (ready > 0 && polled[1].revents)
            take(&lamps_side);
    }
    int first = sent / 10, kept = 0;
    for (int n = first; n < sent; n++)
        if (took_ns[n])
            took_ns[first + kept++] = took_ns[n];
    if (kept == 0) {
        errno = 0;
        fail("no answer at all");
    }
    qsort(took_ns + first, (size_t)kept, sizeof *took_ns, by_size);
    printf("sent %d answered %d extra %d wrong %d held %d p50_us %.1f p99_us %.1f worst_us %.1f behind_us %.1f\n", sent,
           answered, extra, wrong, held, (double)took_ns[first + kept / 2] / 1e3,
           (double)took_ns[first + kept * 99 / 100] / 1e3, (double)took_ns[first + kept - 1] / 1e3,
           (double)behind / 1e3);
    return 0;
}
