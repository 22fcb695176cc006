/* A fleet of senders on one core: it replays requests that were made before, so that making them is not measured.

       ingest_load PROTOCOL HOST PORT PLAN IN_FLIGHT [RATE]

   PROTOCOL is http or postgres. PLAN is a file of little-endian numbers:

       u32 lanes; for each: u32 size, a greeting; u32 requests; for each: u32 size, u8 timed, the request

   A lane is one connection, kept alive, with one request in flight: the next one is sent when the last was answered.
   At most IN_FLIGHT lanes have a request in flight; the others wait their turn, first come first served. All lanes
   are connected and greeted before the clock starts.

   With RATE, so many requests a second are due, one after the other, and a request's time counts from when it was due:
   one that had to wait for another's answer took that long, too.

   What an aggregator asks for is done: `pause_s` of an ack, and Retry-After of a 503, after which the same request
   is sent again. A connection that ends before the first answer on it is opened again, RESETS_MOST times a run: one
   that a busy machine has not let speak in time is closed by the aggregator, and a node would do the same. Any other
   answer than success ends the run. It prints one line of JSON:

       seconds, from the first byte sent to the last answer; requests and answers of the timed ones: how many, how
       many bytes, p50, p99 and most milliseconds from first byte to last; busy, 503s; pauses, acks that asked for one;
       resets, connections that were opened again; rows, what PostgreSQL says that it has copied

   Bounds: an answer of 64 KiB. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 64 << 10, EVENTS = 256, RESETS_MOST = 8 };

struct request {
    const char *bytes;
    uint32_t size;
    bool timed;
};

struct lane {
    int socket;
    struct request greeting, *requests;
    uint32_t count, next;
    uint32_t sent, got;
    double began, not_before;
    bool in_flight, writing;
    struct lane *after; /* in the queue of those who may send */
    char answer[ANSWER_BYTES];
};

static bool postgres;
static struct lane *lanes;
static uint32_t lane_count;
static int poll_fd;
static double *took_ms;
static uint64_t timed, timed_bytes, busy, pauses, copied, resets;
static struct sockaddr_in server;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void refuse(const struct lane *lane, const char *why) {
    fprintf(stderr, "lane %u, request %u: %s: %.*s\n", (unsigned)(lane - lanes), lane->next, why,
            (int)(lane->got < 600 ? lane->got : 600), lane->answer);
    exit(1);
}

/* ---- the plan ------------------------------------------------------------------------------------------------- */

static const char *take(const char **at, uint32_t size) {
    const char *found = *at;
    *at += size;
    return found;
}

static uint32_t number(const char **at) {
    uint32_t value;
    memcpy(&value, take(at, 4), 4);
    return value;
}

static void load(const char *path) {
    int file = open(path, O_RDONLY);
    struct stat about;
    if (file < 0 || fstat(file, &about)) fail(path);
    const char *at = mmap(NULL, about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (at == MAP_FAILED) fail(path);
    lane_count = number(&at);
    lanes = calloc(lane_count, sizeof *lanes);
    uint64_t all = 0;
    for (struct lane *lane = lanes; lane < lanes + lane_count; lane++) {
        lane->greeting.size = number(&at);
        lane->greeting.bytes = take(&at, lane->greeting.size);
        lane->count = number(&at);
        lane->requests = calloc(lane->count, sizeof *lane->requests);
        for (struct request *request = lane->requests; request < lane->requests + lane->count; request++) {
            request->size = number(&at);
            request->timed = *take(&at, 1);
            request->bytes = take(&at, request->size);
        }
        all += lane->count;
    }
    took_ms = malloc(all * sizeof *took_ms + 1);
}

/* ---- answers: whether one is whole, and what it says ----------------------------------------------------------- */

struct said {
    bool whole, again;
    double wait_s;
};

/* The number behind a key in an ack, which is a small CBOR map; 0 where there is none. */
static double pause_of(const char *body, size_t size) {
    const char *found = memmem(body, size, "\x67pause_s", 8);
    if (!found) return 0;
    const unsigned char *at = (const unsigned char *)found + 8;
    if (*at < 24) return *at;
    if (*at == 0xfb) {
        uint64_t bits = 0;
        for (int i = 1; i <= 8; i++) bits = bits << 8 | at[i];
        double value;
        memcpy(&value, &bits, 8);
        return value;
    }
    fprintf(stderr, "pause_s is written as %02x, which is not read here\n", *at);
    exit(1);
}

static struct said http_answer(struct lane *lane) {
    struct said said = {0};
    lane->answer[lane->got] = 0;
    char *body = strstr(lane->answer, "\r\n\r\n");
    if (!body) return said;
    body += 4;
    int status = atoi(lane->answer + 9);
    size_t length = 0;
    double retry_s = 1;
    for (char *line = strstr(lane->answer, "\r\n") + 2; line < body - 2; line = strstr(line, "\r\n") + 2) {
        if (!strncasecmp(line, "content-length:", 15)) length = strtoul(line + 15, NULL, 10);
        if (!strncasecmp(line, "retry-after:", 12)) retry_s = strtod(line + 12, NULL);
    }
    size_t have = lane->got - (body - lane->answer);
    if (have < length) return said;
    said.whole = true;
    if (status == 503) {
        busy++;
        said.again = true;
        said.wait_s = retry_s + drand48(); /* with jitter, as nodes do */
    } else if (status != 200 && status != 204) {
        refuse(lane, "refused");
    } else if ((said.wait_s = pause_of(body, length)) > 0) {
        pauses++;
    }
    return said;
}

static struct said postgres_answer(struct lane *lane) {
    struct said said = {0};
    uint32_t at = 0, size;
    while (at + 5 <= lane->got) {
        memcpy(&size, lane->answer + at + 1, 4);
        size = ntohl(size);
        if (at + 1 + size > lane->got) break;
        const char *body = lane->answer + at + 5;
        if (lane->answer[at] == 'E') refuse(lane, "refused");
        if (lane->answer[at] == 'C' && !strncmp(body, "COPY ", 5)) copied += strtoull(body + 5, NULL, 10);
        if (lane->answer[at] == 'Z') said.whole = true;
        at += 1 + size;
    }
    memmove(lane->answer, lane->answer + at, lane->got - at); /* each message is counted once */
    lane->got -= at;
    return said;
}

/* ---- lanes ----------------------------------------------------------------------------------------------------- */

static const struct request *current(const struct lane *lane) {
    return lane->next == UINT32_MAX ? &lane->greeting : lane->requests + lane->next;
}

static void watch(struct lane *lane, bool writing, int operation) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = lane};
    if (epoll_ctl(poll_fd, operation, lane->socket, &event)) fail("epoll_ctl");
    lane->writing = writing;
}

static void push(struct lane *lane) {
    const struct request *request = current(lane);
    while (lane->sent < request->size) {
        ssize_t done = send(lane->socket, request->bytes + lane->sent, request->size - lane->sent, MSG_NOSIGNAL);
        if (done < 0) {
            if (errno != EAGAIN) fail("send");
            if (!lane->writing) watch(lane, true, EPOLL_CTL_MOD);
            return;
        }
        lane->sent += done;
    }
    if (lane->writing) watch(lane, false, EPOLL_CTL_MOD);
}

static void begin(struct lane *lane) {
    lane->sent = 0;
    lane->began = now_s();
    lane->in_flight = true;
    push(lane);
}

static struct said pull(struct lane *lane);

/* Connect, and greet. */
static void join(struct lane *lane) {
    int on = 1;
    lane->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (lane->socket < 0 || connect(lane->socket, (struct sockaddr *)&server, sizeof server)) fail("connect");
    setsockopt(lane->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (lane->greeting.size) { /* still blocking: one after the other */
        lane->next = UINT32_MAX;
        begin(lane);
        pull(lane);
        lane->next = 0;
        lane->in_flight = false;
    }
    fcntl(lane->socket, F_SETFL, O_NONBLOCK);
    watch(lane, false, EPOLL_CTL_ADD);
}

/* The answer to what the lane has sent, once it is whole. */
static struct said pull(struct lane *lane) {
    struct said said = {0};
    while (!said.whole) {
        ssize_t done = recv(lane->socket, lane->answer + lane->got, ANSWER_BYTES - 1 - lane->got, 0);
        if (done < 0 && errno == EAGAIN) return said;
        if (done <= 0 && !postgres && !lane->next && resets < RESETS_MOST) {
            resets++;
            close(lane->socket);
            join(lane);
            lane->got = 0;
            return (struct said){.whole = true, .again = true, .wait_s = 1 + drand48()};
        }
        if (done <= 0) refuse(lane, done ? strerror(errno) : "closed");
        lane->got += done;
        said = postgres ? postgres_answer(lane) : http_answer(lane);
        if (!said.whole && lane->got == ANSWER_BYTES - 1) refuse(lane, "an answer without an end");
    }
    lane->got = 0;
    return said;
}

static void connect_all(const char *host, const char *port) {
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    if (inet_pton(AF_INET, host, &server.sin_addr) != 1) fail(host);
    for (struct lane *lane = lanes; lane < lanes + lane_count; lane++) join(lane);
}

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double percentile(double part) {
    if (!timed) return 0;
    uint64_t at = part * timed;
    return took_ms[at < timed ? at : timed - 1];
}

int main(int argc, char **argv) {
    if (argc != 6 && argc != 7) {
        fprintf(stderr, "usage: ingest_load http|postgres HOST PORT PLAN IN_FLIGHT [RATE]\n");
        return 2;
    }
    postgres = !strcmp(argv[1], "postgres");
    load(argv[4]);
    double rate = argc == 7 ? atof(argv[6]) : 0;
    uint32_t most = atoi(argv[5]), in_flight = 0, left = 0;
    if ((poll_fd = epoll_create1(0)) < 0) fail("epoll");
    connect_all(argv[2], argv[3]);

    struct lane *first = NULL, **last = &first; /* those who may send */
    struct lane **resting = calloc(lane_count, sizeof *resting); /* those who were asked to wait */
    uint32_t rests = 0;
    for (struct lane *lane = lanes; lane < lanes + lane_count; lane++)
        if (lane->count) {
            *last = lane;
            last = &lane->after;
            left++;
        }
    double started = now_s(), ended = started;
    double due = started; /* the next request, where there is a rate */
    while (left) {
        double now = now_s(), wake = now + 1;
        for (uint32_t i = 0; i < rests; i++) {
            if (resting[i]->not_before > now) {
                if (resting[i]->not_before < wake) wake = resting[i]->not_before;
                continue;
            }
            resting[i]->after = NULL;
            *last = resting[i];
            last = &resting[i]->after;
            resting[i--] = resting[--rests];
        }
        while (first && in_flight < most && (!rate || due <= now)) {
            struct lane *lane = first;
            if (!(first = lane->after)) last = &first;
            lane->after = NULL;
            in_flight++;
            begin(lane);
            if (rate) {
                lane->began = due;
                due += 1 / rate;
            }
        }
        if (rate && first && in_flight < most && due < wake) wake = due;
        struct epoll_event events[EVENTS];
        int found = epoll_wait(poll_fd, events, EVENTS, (int)((wake - now) * 1000) + 1);
        if (found < 0) fail("epoll_wait");
        for (int i = 0; i < found; i++) {
            struct lane *lane = events[i].data.ptr;
            if (!lane->in_flight) refuse(lane, "closed by the other side while it was idle");
            if (events[i].events & EPOLLOUT) push(lane);
            if (!(events[i].events & ~EPOLLOUT)) continue;
            struct said said = pull(lane);
            if (!said.whole) continue;
            ended = now_s();
            if (!said.again) {
                if (current(lane)->timed) {
                    took_ms[timed++] = (ended - lane->began) * 1000;
                    timed_bytes += current(lane)->size;
                }
                lane->next++;
            }
            lane->in_flight = false;
            in_flight--;
            if (lane->next == lane->count) {
                left--;
            } else if (said.wait_s > 0) {
                lane->not_before = ended + said.wait_s;
                resting[rests++] = lane;
            } else {
                *last = lane;
                last = &lane->after;
            }
        }
    }
    qsort(took_ms, timed, sizeof *took_ms, ascending);
    printf("{\"seconds\": %.6f, \"requests\": %lu, \"bytes\": %lu, \"p50_ms\": %.3f, \"p99_ms\": %.3f,"
           " \"most_ms\": %.3f, \"busy\": %lu, \"pauses\": %lu, \"resets\": %lu, \"rows\": %lu}\n",
           ended - started, timed, timed_bytes, percentile(0.5), percentile(0.99), percentile(1), busy, pauses,
           resets, copied);
    return 0;
}
