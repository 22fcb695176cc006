/* The cheapest durable store: bytes appended to a file, and fdatasync.

       ingest_append BODIES FILE GROUP

   BODIES is u32 count, then u32 size and the bytes of each, little-endian. GROUP bodies share a sync. Prints one line
   of JSON: CPU seconds, seconds, the bytes appended, and p99 of the milliseconds between append and sync of a group. */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: ingest_append BODIES FILE GROUP\n");
        return 2;
    }
    struct stat about;
    int in = open(argv[1], O_RDONLY), out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0 || fstat(in, &about)) fail("open");
    const char *at = mmap(NULL, about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, in, 0);
    if (at == MAP_FAILED) fail("mmap");
    uint32_t count, size, group = atoi(argv[3]), groups = 0;
    memcpy(&count, at, 4);
    at += 4;
    double *took_ms = malloc((count + 1) * sizeof *took_ms), began = now_s(), cpu = cpu_s(), from = began;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i % group == 0) from = now_s();
        memcpy(&size, at, 4);
        if (write(out, at + 4, size) != (ssize_t)size) fail("write");
        at += 4 + size;
        bytes += size;
        if ((i + 1) % group == 0 || i + 1 == count) {
            if (fdatasync(out)) fail("fdatasync");
            took_ms[groups++] = (now_s() - from) * 1000;
        }
    }
    double seconds = now_s() - began;
    cpu = cpu_s() - cpu;
    qsort(took_ms, groups, sizeof *took_ms, ascending);
    printf("{\"cpu_s\": %.6f, \"seconds\": %.6f, \"bytes\": %lu, \"p99_ms\": %.3f}\n", cpu, seconds, bytes,
           took_ms[groups - 1 < groups * 99 / 100 ? groups - 1 : groups * 99 / 100]);
    return 0;
}
