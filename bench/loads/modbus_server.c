/* A cabinet's worth of Modbus TCP gateways in one process: what is polled, so that it is not what is measured.
 *
 *     modbus_server GATEWAYS UNITS REGISTERS SEED COUNTS [STILL]
 *
 * Each gateway listens on a port of its own (said on stdout, one line: "ports P P ...") and answers for units 1 to
 * UNITS with REGISTERS holding registers from 0. Each register begins at a place drawn from SEED and takes one step up
 * or down in one second of four on average: values of a quiet installation. The last STILL of them (0) stay as they are
 * written; any may be. COUNTS is a file of one little-endian
 * uint64 for each unit, gateway by gateway: answers that the kernel took whole, always as they stand now.
 *
 * Bounds: 32 gateways of 247 units, 125 registers, as many connections as select() takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <modbus/modbus.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_GATEWAYS = 32, MAX_UNITS = 247, MAX_REGISTERS = 125, UNIT_AT = 6 };

struct unit {
    modbus_mapping_t *mapping;
    uint64_t random;
    time_t stepped; /* the second up to which its registers have moved */
};

static struct unit units[MAX_GATEWAYS][MAX_UNITS + 1];
static modbus_t *gateways[MAX_GATEWAYS];
static int gateway_of[FD_SETSIZE];
static int still;

static void fail(const char *what)
{
    fprintf(stderr, "modbus_server: %s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

static uint64_t draw(uint64_t *state) /* xorshift64* */
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1DULL;
}

static time_t now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void step(struct unit *unit)
{
    for (time_t now = now_s(); unit->stepped < now; unit->stepped++)
        for (int i = 0; i < unit->mapping->nb_registers - still; i++) {
            uint64_t luck = draw(&unit->random) >> 61; /* 0 ... 7 */
            uint16_t *at = &unit->mapping->tab_registers[i];
            if (luck == 0 && *at > 0)
                --*at;
            else if (luck == 1 && *at < UINT16_MAX)
                ++*at;
        }
}

static int argument(const char *text, int most)
{
    long value = strtol(text, NULL, 10);
    if (value < 1 || value > most) {
        fprintf(stderr, "modbus_server: %s is not between 1 and %d\n", text, most);
        exit(2);
    }
    return (int)value;
}

static uint64_t *map_counts(const char *path, size_t bytes)
{
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || ftruncate(file, (off_t)bytes) < 0)
        fail(path);
    uint64_t *counts = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counts == MAP_FAILED)
        fail(path);
    close(file);
    return counts;
}

static int port_of(int listener)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        fail("getsockname");
    return ntohs(address.sin_port);
}

int main(int argc, char **argv)
{
    if (argc != 6 && argc != 7) {
        fprintf(stderr, "usage: modbus_server GATEWAYS UNITS REGISTERS SEED COUNTS [STILL]\n");
        return 2;
    }
    int gateway_count = argument(argv[1], MAX_GATEWAYS), unit_count = argument(argv[2], MAX_UNITS);
    int registers = argument(argv[3], MAX_REGISTERS), seed = argument(argv[4], INT32_MAX);
    still = argc == 7 ? argument(argv[6], registers) : 0;
    uint64_t *counts = map_counts(argv[5], sizeof(uint64_t) * (size_t)(gateway_count * unit_count));
    int listeners[MAX_GATEWAYS], highest = 0;
    fd_set known;
    FD_ZERO(&known);

    printf("ports");
    for (int g = 0; g < gateway_count; g++) {
        gateways[g] = modbus_new_tcp("127.0.0.1", 0);
        if (gateways[g] == NULL || (listeners[g] = modbus_tcp_listen(gateways[g], 16)) < 0)
            fail("listen");
        FD_SET(listeners[g], &known);
        highest = listeners[g] > highest ? listeners[g] : highest;
        for (int u = 1; u <= unit_count; u++) {
            struct unit *unit = &units[g][u];
            unit->mapping = modbus_mapping_new(0, 0, registers, 0);
            if (unit->mapping == NULL)
                fail("mapping");
            unit->random = (uint64_t)seed * 0x9E3779B97F4A7C15ULL + (uint64_t)(g * MAX_UNITS + u);
            unit->stepped = now_s();
            for (int i = 0; i < registers; i++)
                unit->mapping->tab_registers[i] = (uint16_t)(1000 + draw(&unit->random) % 3000);
        }
        printf(" %d", port_of(listeners[g]));
    }
    printf("\n");
    fflush(stdout);

    for (;;) {
        fd_set ready = known;
        if (select(highest + 1, &ready, NULL, NULL, NULL) < 0)
            fail("select");
        for (int fd = 0; fd <= highest; fd++) {
            if (!FD_ISSET(fd, &ready))
                continue;
            int g = 0;
            while (g < gateway_count && listeners[g] != fd)
                g++;
            if (g < gateway_count) {
                int listener = fd, client = modbus_tcp_accept(gateways[g], &listener);
                if (client < 0 || client >= FD_SETSIZE)
                    fail("accept");
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
                gateway_of[client] = g;
                FD_SET(client, &known);
                highest = client > highest ? client : highest;
                continue;
            }
            uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
            modbus_t *gateway = gateways[g = gateway_of[fd]];
            modbus_set_socket(gateway, fd);
            int length = modbus_receive(gateway, query);
            int unit = length > 0 ? query[UNIT_AT] : 0;
            if (length > 0 && (unit < 1 || unit > unit_count)) {
                modbus_reply_exception(gateway, query, MODBUS_EXCEPTION_GATEWAY_TARGET);
            } else if (length > 0) {
                step(&units[g][unit]);
                if (modbus_reply(gateway, query, length, units[g][unit].mapping) > 0)
                    counts[g * unit_count + unit - 1]++;
            } else if (length < 0) {
                close(fd);
                FD_CLR(fd, &known);
            }
        }
    }
}
