/* The bare way to set a register: write it, read it back, one after the other, on one connection of libmodbus.
 *
 *     order_modbus PORT UNITS REGISTER COUNT
 *
 * Sets REGISTER of units 1 to UNITS in turn behind PORT, COUNT times. At the end one line: p50_us X p99_us Y, of both
 * requests together. Bounds: 100,000 times. Any failure, and any other value than the one written, ends it with a word.
 */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_COUNT = 100000, NS_A_S = 1000000000 };

static void fail(const char *what)
{
    fprintf(stderr, "order_modbus: %s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_A_S + now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: order_modbus PORT UNITS REGISTER COUNT\n");
        return 2;
    }
    int units = atoi(argv[2]), at = atoi(argv[3]), count = atoi(argv[4]);
    if (units < 1 || units > 247 || count < 1 || count > MAX_COUNT) {
        fprintf(stderr, "order_modbus: UNITS 1 to 247, COUNT 1 to %d\n", MAX_COUNT);
        return 2;
    }
    modbus_t *line = modbus_new_tcp("127.0.0.1", atoi(argv[1]));
    if (line == NULL || modbus_connect(line) < 0)
        fail("connect");
    int64_t *took_ns = calloc((size_t)count, sizeof *took_ns);
    if (took_ns == NULL)
        fail("memory");
    for (int i = 0; i < count; i++) {
        uint16_t value = (uint16_t)(5000 + i % 1000), read = 0;
        int64_t began = now_ns();
        modbus_set_slave(line, 1 + i % units);
        if (modbus_write_register(line, at, value) != 1 || modbus_read_registers(line, at, 1, &read) != 1)
            fail("set");
        took_ns[i] = now_ns() - began;
        if (read != value) {
            fprintf(stderr, "order_modbus: %d was written, %d read back\n", value, read);
            return 1;
        }
    }
    qsort(took_ns, (size_t)count, sizeof *took_ns, by_size);
    printf("p50_us %.1f p99_us %.1f\n", (double)took_ns[count / 2] / 1e3, (double)took_ns[count * 99 / 100] / 1e3);
    return 0;
}
