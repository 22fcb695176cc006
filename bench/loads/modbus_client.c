/* The cheapest way to poll: libmodbus, one request at a time on each of a few connections, the values thrown away.
 *
 *     modbus_client UNITS REGISTERS PERIOD_MS PORT [PORT ...]
 *
 * Reads REGISTERS holding registers of units 1 to UNITS behind each PORT once every PERIOD_MS, spread over the period,
 * until it is ended. Once a period it writes to stdout how many polls it has done and how many of them began more than
 * half a period late.
 *
 * Bounds: 32 ports. Any failure ends it with a word.
 */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_PORTS = 32, MAX_REGISTERS = 125, NS_A_MS = 1000000, NS_A_S = 1000000000 };

static void fail(const char *what)
{
    fprintf(stderr, "modbus_client: %s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_A_S + now.tv_nsec;
}

int main(int argc, char **argv)
{
    int ports = argc - 4;
    if (ports < 1 || ports > MAX_PORTS) {
        fprintf(stderr, "usage: modbus_client UNITS REGISTERS PERIOD_MS PORT [PORT ...]\n");
        return 2;
    }
    int units = atoi(argv[1]), registers = atoi(argv[2]);
    int64_t period_ns = (int64_t)atoi(argv[3]) * NS_A_MS;
    if (units < 1 || units > 247 || registers < 1 || registers > MAX_REGISTERS || period_ns < NS_A_MS) {
        fprintf(stderr, "modbus_client: UNITS 1 to 247, REGISTERS 1 to %d, PERIOD_MS 1 or more\n", MAX_REGISTERS);
        return 2;
    }
    modbus_t *lines[MAX_PORTS];
    for (int i = 0; i < ports; i++) {
        lines[i] = modbus_new_tcp("127.0.0.1", atoi(argv[4 + i]));
        if (lines[i] == NULL || modbus_connect(lines[i]) < 0)
            fail("connect");
    }
    int64_t began = now_ns(), polls = 0, late = 0;
    for (;;) {
        for (int unit = 1; unit <= units; unit++)
            for (int i = 0; i < ports; i++, polls++) {
                int64_t due = began + polls * period_ns / (units * ports);
                struct timespec at = {due / NS_A_S, due % NS_A_S};
                clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
                late += now_ns() - due > period_ns / 2;
                uint16_t values[MAX_REGISTERS];
                modbus_set_slave(lines[i], unit);
                if (modbus_read_registers(lines[i], 0, registers, values) != registers)
                    fail("read");
            }
        printf("%lld %lld\n", (long long)polls, (long long)late);
        fflush(stdout);
    }
}
