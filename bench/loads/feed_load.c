/* Readers of the feed and nodes that push, in one process, so that one clock tells how long a batch takes to a reader.

       feed_load HOST PORT PLAN READERS RATE READER_TOKEN

   PLAN is a file of little-endian numbers:

       u32 requests; for each: u32 lane, u32 size, a mark, u32 size, the request

   A lane is one connection, kept alive. RATE requests a second are sent, evenly, each in its lane; a lane whose last
   request is not answered when it is due ends the run. The mark is the CloudEvents id of a batch's last event: a batch
   has reached a reader when the whole line with it is there. All readers have a first cursor before the clock starts.

   It ends when every reader has every mark once, or WAIT_S after the last request, which is an error. It prints one
   line of JSON: p50, p99 and most milliseconds from a request's first byte to its mark at a reader, p50 and p99 to its
   answer, marks seen, bytes read, seconds.

   Bounds: an answer of 64 KiB, the first 512 bytes of a line. */

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

enum { LINE_BYTES = 512, ANSWER_BYTES = 64 << 10, READ_BYTES = 256 << 10, EVENTS = 256, WAIT_S = 30 };

struct request {
    uint32_t lane, mark_size, size;
    const char *mark, *bytes;
    double sent_s;
};

struct peer { /* a reader, or a lane when `lane` is set */
    int socket;
    bool lane, ready;
    struct request *in_flight;
    uint32_t got;
    char *text;
};

static struct request *requests;
static uint32_t count, lane_count;
static struct peer *lanes, *readers;
static uint32_t *table, table_size; /* marks, by hash: 1 + the request */
static double *seen_ms, *answered_ms;
static uint64_t wanted, seen, answered, bytes_read;
static int poll_fd;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void refuse(const char *why, const char *text, uint32_t size) {
    fprintf(stderr, "%s: %.*s\n", why, (int)(size < 600 ? size : 600), text);
    exit(1);
}

/* ---- marks ---------------------------------------------------------------------------------------------------- */

static uint32_t place(const char *mark, uint32_t size) {
    uint64_t hash = 14695981039346656037u;
    for (uint32_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)mark[i]) * 1099511628211u;
    return (hash ^ hash >> 32) % table_size;
}

static struct request *find(const char *mark, uint32_t size) {
    for (uint32_t at = place(mark, size); table[at]; at = (at + 1) % table_size) {
        struct request *one = requests + table[at] - 1;
        if (one->mark_size == size && !memcmp(one->mark, mark, size)) return one;
    }
    return NULL;
}

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
    count = number(&at);
    requests = calloc(count, sizeof *requests);
    table_size = 4 * count + 1;
    table = calloc(table_size, sizeof *table);
    for (uint32_t i = 0; i < count; i++) {
        struct request *one = requests + i;
        one->lane = number(&at);
        if (one->lane >= lane_count) lane_count = one->lane + 1;
        one->mark_size = number(&at);
        one->mark = take(&at, one->mark_size);
        one->size = number(&at);
        one->bytes = take(&at, one->size);
        uint32_t where = place(one->mark, one->mark_size);
        while (table[where]) where = (where + 1) % table_size;
        table[where] = i + 1;
    }
}

/* ---- peers ---------------------------------------------------------------------------------------------------- */

static void join(struct peer *peer, const struct sockaddr_in *address, uint32_t room) {
    int on = 1;
    peer->text = malloc(room);
    peer->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (peer->socket < 0 || connect(peer->socket, (const struct sockaddr *)address, sizeof *address)) fail("connect");
    setsockopt(peer->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(peer->socket, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, peer->socket, &event)) fail("epoll_ctl");
}

static void write_all(int socket, const char *bytes, size_t size) {
    while (size) { /* what is sent here is small: a full buffer means that the other side has stopped reading */
        ssize_t done = send(socket, bytes, size, MSG_NOSIGNAL);
        if (done < 0 && errno == EAGAIN) {
            usleep(200);
            continue;
        }
        if (done < 0) fail("send");
        bytes += done;
        size -= done;
    }
}

static void hear(struct peer *lane, double now) {
    ssize_t done = recv(lane->socket, lane->text + lane->got, ANSWER_BYTES - 1 - lane->got, 0);
    if (done < 0 && errno == EAGAIN) return;
    if (done <= 0) refuse("closed", lane->text, lane->got);
    lane->got += done;
    lane->text[lane->got] = 0;
    char *body = strstr(lane->text, "\r\n\r\n"), *length = strcasestr(lane->text, "content-length:");
    if (!body) return;
    if (strncmp(lane->text + 9, "200", 3)) refuse("refused", lane->text, lane->got);
    if (lane->got < body + 4 - lane->text + (length ? strtoul(length + 15, NULL, 10) : 0)) return;
    answered_ms[answered++] = (now - lane->in_flight->sent_s) * 1000;
    lane->in_flight = NULL;
    lane->got = 0;
}

/* A line of a reader's stream. Lines with the sizes of HTTP's chunks come in between, and mean nothing here. */
static void line(struct peer *reader, double now) {
    static const char head[] = "data: {\"specversion\":\"1.0\",\"id\":\"";
    if (!strncmp(reader->text, "id: ", 4)) reader->ready = true;
    if (reader->got < sizeof head || memcmp(reader->text, head, sizeof head - 1)) return;
    const char *mark = reader->text + sizeof head - 1, *end = memchr(mark, '"', reader->text + reader->got - mark);
    struct request *one = end ? find(mark, end - mark) : NULL;
    if (one && seen == wanted) refuse("marks were seen twice", mark, end - mark);
    if (one) seen_ms[seen++] = (now - one->sent_s) * 1000;
}

static void read_on(struct peer *reader) {
    static char chunk[READ_BYTES];
    ssize_t done = recv(reader->socket, chunk, sizeof chunk, 0);
    if (done < 0 && errno == EAGAIN) return;
    if (done <= 0) refuse("a reader was cut off", reader->text, reader->got);
    double now = now_s();
    bytes_read += done;
    for (const char *at = chunk, *end = chunk + done; at < end;) {
        const char *stop = memchr(at, '\n', end - at), *to = stop ? stop : end;
        uint32_t more = to - at, room = LINE_BYTES - 1 - reader->got;
        memcpy(reader->text + reader->got, at, more < room ? more : room);
        reader->got += more < room ? more : room;
        if (!stop) break;
        reader->text[reader->got] = 0;
        if (!strncmp(reader->text, "HTTP/1.1 ", 9) && strncmp(reader->text + 9, "200", 3))
            refuse("refused", reader->text, reader->got);
        line(reader, now);
        reader->got = 0;
        at = stop + 1;
    }
}

static void wait_for(double until) {
    struct epoll_event events[EVENTS];
    double left = until - now_s();
    int found = epoll_wait(poll_fd, events, EVENTS, left > 0 ? (int)(left * 1000) + 1 : 0);
    if (found < 0) fail("epoll_wait");
    for (int i = 0; i < found; i++) {
        struct peer *peer = events[i].data.ptr;
        if (peer->lane)
            hear(peer, now_s());
        else
            read_on(peer);
    }
}

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double percentile(const double *sorted, uint64_t n, double part) {
    uint64_t at = part * n;
    return n ? sorted[at < n ? at : n - 1] : 0;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: feed_load HOST PORT PLAN READERS RATE READER_TOKEN\n");
        return 2;
    }
    load(argv[3]);
    uint32_t reader_count = atoi(argv[4]);
    double rate = atof(argv[5]);
    wanted = (uint64_t)reader_count * count;
    seen_ms = malloc((wanted + 1) * sizeof *seen_ms);
    answered_ms = malloc((count + 1) * sizeof *answered_ms);
    if ((poll_fd = epoll_create1(0)) < 0) fail("epoll");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) fail(argv[1]);
    lanes = calloc(lane_count, sizeof *lanes);
    readers = calloc(reader_count, sizeof *readers);
    for (uint32_t i = 0; i < lane_count; i++) {
        lanes[i].lane = true;
        join(lanes + i, &address, ANSWER_BYTES);
    }
    char ask[512];
    int size = snprintf(ask, sizeof ask, "GET /v1/feed HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n"
                        "Authorization: Bearer %s\r\n\r\n", argv[1], argv[6]);
    for (uint32_t i = 0; i < reader_count; i++) {
        join(readers + i, &address, LINE_BYTES);
        write_all(readers[i].socket, ask, size);
    }
    double began = now_s();
    for (uint32_t ready = 0; ready < reader_count;) {
        wait_for(now_s() + 0.1);
        ready = 0;
        for (uint32_t i = 0; i < reader_count; i++) ready += readers[i].ready;
        if (now_s() > began + WAIT_S) refuse("not every reader got a cursor", "", 0);
    }
    began = now_s() + 0.1;
    for (uint32_t next = 0; next < count;) {
        double due = began + next / rate;
        if (now_s() < due) {
            wait_for(due);
            continue;
        }
        struct request *one = requests + next++;
        struct peer *lane = lanes + one->lane;
        if (lane->in_flight) refuse("a lane was not answered before its next batch was due", one->mark, one->mark_size);
        lane->in_flight = one;
        one->sent_s = now_s();
        write_all(lane->socket, one->bytes, one->size);
    }
    double last = now_s();
    while (seen < wanted || answered < count) {
        wait_for(now_s() + 0.1);
        if (now_s() > last + WAIT_S) {
            fprintf(stderr, "%lu marks of %lu were seen, %lu batches of %u answered\n", seen, wanted, answered, count);
            return 1;
        }
    }
    qsort(seen_ms, seen, sizeof *seen_ms, ascending);
    qsort(answered_ms, answered, sizeof *answered_ms, ascending);
    printf("{\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"most_ms\": %.3f, \"answer_p50_ms\": %.3f, \"answer_p99_ms\": %.3f,"
           " \"seen\": %lu, \"bytes\": %lu, \"seconds\": %.3f}\n",
           percentile(seen_ms, seen, 0.5), percentile(seen_ms, seen, 0.99), percentile(seen_ms, seen, 1),
           percentile(answered_ms, answered, 0.5), percentile(answered_ms, answered, 0.99), seen, bytes_read,
           last - began);
    return 0;
}
