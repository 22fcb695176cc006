/* Devices that publish to a broker at QoS 1: eight points as JSON, with the time of sending in them.
 *
 *     mqtt_load PORT DEVICES COUNT PER_SECOND SEED
 *
 * COUNT publishes, device after device, to street/d000/up and so on, by the clock at PER_SECOND, or with 0 as fast as
 * the broker acknowledges (WINDOW at a time). Values walk by small steps drawn from SEED; "n" counts the publishes of a
 * device. When the broker has acknowledged all, a line on stdout says how long it took, and by how much the worst
 * publish was behind the clock: "took_ms T behind_ms B".
 *
 * Bounds: 1,000 devices, 65,535 publishes unacknowledged (the protocol's own).
 */
#define _GNU_SOURCE /* ppoll */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { MAX_DEVICES = 1000, WINDOW = 200, MOST = 65535, ROOM = 512 };

struct device { /* in hundredths, but for dim, mode and n */
    int temperature, humidity, power, voltage, energy, dim, mode;
    unsigned n;
    int64_t ts; /* no two publishes of a device have the same */
};

static struct device devices[MAX_DEVICES];
static uint64_t luck;

static void fail(const char *what)
{
    fprintf(stderr, "mqtt_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int draw(int below) /* xorshift64* */
{
    luck ^= luck >> 12;
    luck ^= luck << 25;
    luck ^= luck >> 27;
    return (int)((luck * 0x2545F4914F6CDD1DULL >> 33) % (uint64_t)below);
}

static int64_t now_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void step(struct device *d)
{
    int64_t now = now_us(CLOCK_REALTIME) / 1000;
    d->ts = now > d->ts ? now : d->ts + 1;
    d->n++;
    d->temperature += draw(11) - 5;
    d->humidity += (draw(3) - 1) * 10;
    d->power += draw(21) - 10;
    d->voltage += (draw(5) - 2) * 10;
    d->energy += draw(4);
    if (draw(50) == 0)
        d->dim = draw(101), d->mode = draw(3);
}

/* One whole PUBLISH packet (MQTT 3.1.1, QoS 1). */
static size_t packet(uint8_t *at, int number, unsigned mid)
{
    struct device *d = &devices[number];
    char text[ROOM];
    step(d);
    int head = snprintf(text + 2, 32, "street/d%03d/up", number);
    text[0] = 0, text[1] = (char)head;
    head += 2;
    text[head++] = (char)(mid >> 8), text[head++] = (char)mid;
    size_t length = (size_t)head + (size_t)snprintf(
        text + head, sizeof text - (size_t)head,
        "{\"ts\":%lld,\"n\":%u,\"temperature\":%d.%02d,\"humidity\":%d.%d,\"power\":%d.%02d,\"voltage\":%d.%d,"
        "\"energy\":%d.%02d,\"dim\":%d,\"mode\":%d}",
        (long long)d->ts, d->n, d->temperature / 100, d->temperature % 100,
        d->humidity / 100, d->humidity / 10 % 10, d->power / 100, d->power % 100, d->voltage / 100,
        d->voltage / 10 % 10, d->energy / 100, d->energy % 100, d->dim, d->mode);
    at[0] = 0x32;
    at[1] = (uint8_t)((length & 127) | 128); /* 128 and more: always two bytes */
    at[2] = (uint8_t)(length >> 7);
    memcpy(at + 3, text, length);
    return 3 + length;
}

static void sent(int fd, const uint8_t *at, size_t size)
{
    while (size) {
        ssize_t some = send(fd, at, size, MSG_NOSIGNAL);
        if (some < 0)
            fail("send");
        at += some, size -= (size_t)some;
    }
}

static long acknowledged(int fd) /* a PUBACK of 3.1.1 has four bytes, and nothing else comes */
{
    static size_t odd;
    uint8_t room[4096];
    ssize_t got = recv(fd, room, sizeof room, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        fail("the broker is gone");
    if (got < 0)
        return 0;
    odd += (size_t)got;
    long whole = (long)(odd / 4);
    odd %= 4;
    return whole;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: mqtt_load PORT DEVICES COUNT PER_SECOND SEED\n");
        return 2;
    }
    int count = atoi(argv[2]);
    long total = atol(argv[3]), per_second = atol(argv[4]), published = 0, acked = 0;
    long window = per_second ? MOST : WINDOW;
    if (count < 1 || count > MAX_DEVICES || total < 1)
        fail("DEVICES or COUNT");
    luck = (uint64_t)atol(argv[5]) * 0x9E3779B97F4A7C15ULL + 1;
    for (int i = 0; i < count; i++)
        devices[i] = (struct device){1000 + draw(1500), 4000 + draw(4000), 1000 + draw(9000), 22500 + draw(1000),
                                     draw(1000000), draw(101), draw(3), 0, 0};

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)atoi(argv[1]))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    static const uint8_t hello[] = "\x10\x10\0\x04MQTT\x04\x02\0\0\0\4load"; /* clean session, no keep-alive */
    uint8_t welcome[4];
    sent(fd, hello, sizeof hello - 1);
    if (recv(fd, welcome, 4, MSG_WAITALL) != 4 || welcome[3] != 0)
        fail("the broker refuses");

    uint8_t batch[WINDOW * ROOM];
    int64_t began = now_us(CLOCK_MONOTONIC), behind = 0;
    while (acked < total) {
        int64_t elapsed = now_us(CLOCK_MONOTONIC) - began;
        long due = per_second ? (long)(elapsed * per_second / 1000000) + 1 : total;
        if (due > total)
            due = total;
        size_t size = 0;
        int some = 0;
        for (; published < due && published - acked < window && some < WINDOW; published++, some++) {
            int64_t late = per_second ? elapsed - published * 1000000 / per_second : 0;
            behind = late > behind ? late : behind;
            size += packet(batch + size, (int)(published % count), (unsigned)(published % MOST) + 1);
        }
        if (size)
            sent(fd, batch, size);
        acked += acknowledged(fd);
        if (acked < total && (published == due || published - acked >= window)) { /* nothing to send now */
            int64_t next = per_second && published < total ? published * 1000000 / per_second - elapsed : 1000000;
            next = next > 0 ? next : 0;
            struct timespec wait = {.tv_sec = next / 1000000, .tv_nsec = next % 1000000 * 1000};
            struct pollfd polled = {.fd = fd, .events = POLLIN};
            if (ppoll(&polled, 1, &wait, NULL) < 0)
                fail("ppoll");
        }
    }
    printf("took_ms %lld behind_ms %lld\n", (long long)((now_us(CLOCK_MONOTONIC) - began) / 1000),
           (long long)(behind / 1000));
    return 0;
}
