/* A gRPC client that costs little, so that what is measured is the server.
 *
 *   calls PORT PATH BODIES connections flight seconds rate
 *
 * BODIES holds messages, each behind its length (u32, little-endian). rate > 0: so many unary calls a second
 * begin on schedule, whatever happened to those before, and latency counts from when a call was due.
 * rate = 0: `flight` unary calls are kept open over all connections. rate < 0: one call a connection, a stream
 * of all messages, dealt out in turn; it ends when all are answered, and `seconds` is only a bound.
 * Unary calls begin again with the first message where `flight` is negative; else each message goes once.
 * Prints one JSON object. Exits 1 with a sentence if the server cannot be talked to.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, OUT_BYTES = 256 * 1024 };

typedef struct {
    int fd, open;
    nghttp2_session *session;
    uint8_t *out;
    size_t out_size, out_sent;
} Connection;

typedef struct {
    Connection *connection;
    size_t message, step; /* the message being sent, and how far to the next one of this call */
    size_t at;            /* octets of it that were sent, its 5-octet prefix included */
    double due;
    int status, grpc_status;
} Call;

static uint8_t **messages;
static uint32_t *sizes;
static size_t count;
static const char *path;
static double end_time;
static double *latencies;
static size_t calls_done, calls_ok, calls_in_time, latencies_size, in_flight;
static uint64_t bytes_received;
static double last_done;

static void fail(const char *what) {
    fprintf(stderr, "calls: %s\n", what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void read_messages(const char *name) {
    FILE *file = fopen(name, "rb");
    uint32_t size;
    size_t room = 0;
    if (!file) fail("the file of messages cannot be read");
    while (fread(&size, 4, 1, file) == 1) {
        if (count == room) {
            room = room ? 2 * room : 1024;
            messages = realloc(messages, room * sizeof *messages);
            sizes = realloc(sizes, room * sizeof *sizes);
        }
        uint8_t *m = malloc(5 + size);
        m[0] = 0;
        m[1] = size >> 24, m[2] = size >> 16, m[3] = size >> 8, m[4] = size;
        if (fread(m + 5, 1, size, file) != size) fail("the file of messages ends within one");
        messages[count] = m;
        sizes[count++] = 5 + size;
    }
    fclose(file);
    if (!count) fail("there are no messages");
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *buffer, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *user) {
    Call *call = source->ptr;
    size_t filled = 0;
    (void)session, (void)stream, (void)user;
    while (filled < room && call->message < count) {
        size_t part = sizes[call->message] - call->at;
        if (part > room - filled) part = room - filled;
        memcpy(buffer + filled, messages[call->message] + call->at, part);
        filled += part;
        call->at += part;
        if (call->at == sizes[call->message]) {
            call->at = 0;
            call->message = call->step ? call->message + call->step : count;
        }
    }
    if (call->message >= count) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return filled;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *user) {
    Call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)value_size, (void)flags, (void)user;
    if (!call) return 0;
    if (name_size == 7 && !memcmp(name, ":status", 7)) call->status = atoi((const char *)value);
    if (name_size == 11 && !memcmp(name, "grpc-status", 11)) call->grpc_status = atoi((const char *)value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
                   void *user) {
    (void)session, (void)flags, (void)stream, (void)data, (void)user;
    bytes_received += size;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user) {
    Call *call = nghttp2_session_get_stream_user_data(session, stream);
    double t = now();
    (void)user;
    if (!call) return 0;
    if (calls_done == latencies_size) {
        latencies_size = latencies_size ? 2 * latencies_size : 65536;
        latencies = realloc(latencies, latencies_size * sizeof *latencies);
    }
    latencies[calls_done++] = t - call->due;
    if (!error && call->status == 200 && call->grpc_status == 0) {
        calls_ok++;
        calls_in_time += t <= end_time;
    }
    last_done = t;
    call->connection->open--;
    in_flight--;
    free(call);
    return 0;
}

static void open_connection(Connection *c, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    nghttp2_session_callbacks *callbacks;
    nghttp2_settings_entry window = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 24};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) fail("nobody listens on that port");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_client_new(&c->session, callbacks, c);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, &window, 1);
    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, 1 << 26);
    c->out = malloc(OUT_BYTES + 65536);
}

#define FIELD(name, value) \
    { (uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, strlen(value), NGHTTP2_NV_FLAG_NONE }

static void begin_call(Connection *c, size_t message, size_t step, double due) {
    nghttp2_nv fields[] = {
        FIELD(":method", "POST"),          FIELD(":scheme", "http"),       FIELD(":path", path),
        FIELD(":authority", "127.0.0.1"),  FIELD("te", "trailers"),        FIELD("content-type", "application/grpc"),
        FIELD("user-agent", "calls/1"),
    };
    Call *call = calloc(1, sizeof *call);
    nghttp2_data_provider provider = {.source = {.ptr = call}, .read_callback = read_body};
    *call = (Call){c, message, step, 0, due, 0, -1};
    if (nghttp2_submit_request(c->session, NULL, fields, sizeof fields / sizeof *fields, &provider, call) < 0)
        fail("a call was not taken by the HTTP/2 library");
    c->open++;
    in_flight++;
}

static void write_out(Connection *c) {
    for (;;) {
        while (c->out_size < OUT_BYTES) {
            const uint8_t *data;
            ssize_t size = nghttp2_session_mem_send(c->session, &data);
            if (size < 0) fail("the HTTP/2 library cannot go on");
            if (size == 0) break;
            if (size > 65536) fail("a frame is larger than expected");
            memcpy(c->out + c->out_size, data, size);
            c->out_size += size;
        }
        if (c->out_sent == c->out_size) return;
        ssize_t sent = write(c->fd, c->out + c->out_sent, c->out_size - c->out_sent);
        if (sent < 0) {
            if (errno == EAGAIN) return;
            fail("the server closed a connection");
        }
        c->out_sent += sent;
        if (c->out_sent < c->out_size) return;
        c->out_sent = c->out_size = 0;
    }
}

static void read_in(Connection *c) {
    static uint8_t buffer[1 << 18];
    for (;;) {
        ssize_t size = read(c->fd, buffer, sizeof buffer);
        if (size < 0 && errno == EAGAIN) return;
        if (size <= 0) fail("the server closed a connection");
        if (nghttp2_session_mem_recv(c->session, buffer, size) < 0) fail("the server's bytes are not HTTP/2");
        if ((size_t)size < sizeof buffer) return;
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) {
    return calls_done ? latencies[(size_t)(share * (calls_done - 1))] * 1e3 : 0;
}

int main(int argc, char **argv) {
    static Connection connections[CONNECTIONS_MAX];
    struct pollfd polled[CONNECTIONS_MAX];
    if (argc != 8) fail("arguments are PORT PATH BODIES connections flight seconds rate");
    int used = atoi(argv[4]), repeat = atoi(argv[5]) < 0;
    size_t flight = abs(atoi(argv[5])), begun = 0;
    double seconds = atof(argv[6]), rate = atof(argv[7]);
    path = argv[2];
    read_messages(argv[3]);
    if (used < 1 || used > CONNECTIONS_MAX) fail("connections are 1 to 64");
    for (int i = 0; i < used; i++) open_connection(&connections[i], atoi(argv[1]));

    double start = now();
    end_time = start + seconds;
    if (rate < 0)
        for (int i = 0; i < used; i++, begun++) begin_call(&connections[i], i, used, start);
    for (;;) {
        double t = now();
        int more = rate >= 0 && t < end_time && (repeat || begun < count);
        if (!more && !in_flight) break;
        if (t > end_time + 20) fail("calls were not answered within 20 s of the end");
        while (more && (rate > 0 ? start + begun / rate <= t : in_flight < flight)) {
            /* The least busy of the connections, so that none of them queues while another idles. */
            Connection *c = &connections[0];
            for (int i = 1; i < used; i++)
                if (connections[i].open < c->open) c = &connections[i];
            begin_call(c, begun % count, 0, rate > 0 ? start + begun / rate : t);
            begun++;
            more = repeat || begun < count;
        }
        for (int i = 0; i < used; i++) {
            write_out(&connections[i]);
            polled[i] = (struct pollfd){connections[i].fd, POLLIN, 0};
            if (connections[i].out_size) polled[i].events |= POLLOUT;
        }
        struct timespec wait = {0, 50 * 1000 * 1000};
        if (more && rate > 0) {
            double until = start + begun / rate - now();
            wait.tv_nsec = until <= 0 ? 0 : until > 0.05 ? wait.tv_nsec : (long)(until * 1e9);
        }
        ppoll(polled, used, &wait, NULL);
        for (int i = 0; i < used; i++)
            if (polled[i].revents) read_in(&connections[i]);
    }
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    qsort(latencies, calls_done, sizeof *latencies, compare);
    printf("{\"calls\": %zu, \"ok\": %zu, \"in_time\": %zu, \"seconds\": %.6f, \"until_last\": %.6f, "
           "\"cpu_seconds\": %.6f, \"bytes_received\": %llu, "
           "\"p50_ms\": %.4f, \"p95_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f}\n",
           calls_done, calls_ok, calls_in_time, seconds, last_done - start, cpu.tv_sec + cpu.tv_nsec * 1e-9,
           (unsigned long long)bytes_received, percentile(.5), percentile(.95), percentile(.99), percentile(1));
    return 0;
}
