#include "common/cache/redis_wire.h"

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/cache/redis_lookup.h"
#include "common/cache/remote_store.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* As hiredis reads: its reader moves what is left after each answer. */
#define READ_BYTES ((size_t)16 << 10)

/* The largest array asked for: the hash of generations, all of it. */
#define ELEMENTS_MAX (2 * (CACHE_SLOTS + 8))

enum state { CLOSED, LOOKING, CONNECTING, GREETING, OPEN, LOST };

struct conn {
	enum state state;
	int fd; /* -1: none */
	redisReader *reader;
	redisReplyObjectFunctions bounded; /* of the reader */
	struct buf out;
	size_t sent; /* of out */
	struct addresses to;
	size_t next;      /* address to try */
	size_t greetings; /* answers to come that are ours */
	uint64_t until_ms, opened_ms;
	char told[96]; /* why it was lost, as told on the log */
};

struct redis_wire {
	struct wire ops;
	struct redis_url url;
	char name[64];
	char where[280];       /* host:port or path, for the log */
	struct lookup *lookup; /* NULL: a path */
	struct conn conn[WIRE_CHANNELS];
	int wake_fd;
};

static const char *const channel_names[] = {
	[WIRE_COMMANDS] = "commands",
	[WIRE_MESSAGES] = "messages",
};

static struct conn *conn_of(void *arg, enum wire_channel ch)
{
	struct redis_wire *w = arg;

	return &w->conn[ch];
}

/* --- losing and closing ------------------------------------------------------------ */

static void drop(struct conn *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
	if (c->reader)
		redisReaderFree(c->reader);
	c->reader = NULL;
	c->out.max = WIRE_OUT_MAX;
	buf_clear(&c->out);
	c->sent = 0;
}

static void lost(struct redis_wire *w, struct conn *c, const char *why)
{
	enum wire_channel ch = (enum wire_channel)(c - w->conn);

	if (c->state == OPEN && mono_ms() >= c->opened_ms + WIRE_STEADY_MS)
		c->told[0] = '\0';
	drop(c);
	c->state = LOST;
	if (strcmp(c->told, why) == 0)
		return;
	(void)snprintf(c->told, sizeof(c->told), "%s", why);
	log_warn(NULL, "cache.remote.lost", LOG_TEXT("address", w->where),
	         LOG_TEXT("connection", channel_names[ch]),
	         LOG_TEXT("reason", why));
}

static void lost_by_errno(struct redis_wire *w, struct conn *c, int error)
{
	char words[64];

	/* The GNU form returns the text, which may be a constant. */
	lost(w, c, strerror_r(error, words, sizeof(words)));
}

static void wire_close(void *arg, enum wire_channel ch)
{
	struct conn *c = conn_of(arg, ch);

	drop(c);
	c->state = CLOSED;
}

/* --- sending ----------------------------------------------------------------------- */

/* "$12\r\n": without printf, which would cost more than all else of a word. */
static void append_count(struct buf *b, char kind, size_t n)
{
	char text[24], *at = text + sizeof(text);

	*--at = '\n';
	*--at = '\r';
	do {
		*--at = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	*--at = kind;
	buf_add(b, at, (size_t)(text + sizeof(text) - at));
}

static bool append(struct conn *c, size_t n, const struct str *words)
{
	struct buf *b = &c->out;

	if (c->sent == b->n) {
		buf_clear(b);
		c->sent = 0;
	}
	append_count(b, '*', n);
	for (size_t i = 0; i < n; i++) {
		append_count(b, '$', words[i].n);
		buf_str(b, words[i]);
		buf_add(b, "\r\n", 2);
	}
	return !b->failed;
}

static bool wire_send(void *arg, enum wire_channel ch, size_t n,
                      const struct str *words)
{
	struct conn *c = conn_of(arg, ch);

	if (c->state != OPEN)
		return false;
	if (append(c, n, words))
		return true;
	lost(arg, c, "it does not read what is sent, or there is no memory");
	return false;
}

static void flush(struct redis_wire *w, struct conn *c)
{
	while (c->sent < c->out.n) {
		ssize_t n = send(c->fd, c->out.p + c->sent, c->out.n - c->sent,
		                 MSG_NOSIGNAL);

		if (n >= 0) {
			c->sent += (size_t)n;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			return;
		} else if (errno != EINTR) {
			lost_by_errno(w, c, errno);
			return;
		}
	}
}

/* --- receiving --------------------------------------------------------------------- */

/* Bytes from the socket into the reader; false: none now, or lost. */
static bool feed(struct redis_wire *w, struct conn *c)
{
	char bytes[READ_BYTES];
	ssize_t n;

	do
		n = recv(c->fd, bytes, sizeof(bytes), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	if (n < 0)
		lost_by_errno(w, c, errno);
	else if (n == 0)
		lost(w, c, "the server has closed it");
	else if (c->reader->len + (size_t)n > WIRE_IN_MAX)
		lost(w, c, "an answer without end");
	else if (redisReaderFeed(c->reader, bytes, (size_t)n) != REDIS_OK)
		lost(w, c, "no memory");
	return c->state != LOST;
}

/* The next answer, whosever it is; NULL: none now, or lost. */
static struct redisReply *next_reply(struct redis_wire *w, struct conn *c)
{
	void *reply = NULL;

	for (;;) {
		if (redisReaderGetReply(c->reader, &reply) != REDIS_OK) {
			lost(w, c,
			     c->reader->err == REDIS_ERR_OOM
			             ? "an answer beyond bounds, or no memory"
			             : "its answers are not of Redis");
			return NULL;
		}
		if (reply)
			return reply;
		if (!feed(w, c))
			return NULL;
	}
}

static enum err wire_receive(void *arg, enum wire_channel ch,
                             struct redisReply **out)
{
	struct conn *c = conn_of(arg, ch);
	struct redisReply *reply = NULL;

	if (c->state == OPEN)
		reply = next_reply(arg, c);
	if (reply) {
		*out = reply;
		return OK;
	}
	return c->state == LOST || c->state == CLOSED ? ERR_UNAVAILABLE
	                                              : ERR_BUSY;
}

/*
 * A reader that makes no array longer than any we ask for: 0.14 believes a
 * server that promises two thousand million elements, and spends a minute on
 * freeing them.
 */
#if HIREDIS_MAJOR >= 1
static redisReader *reader_new(struct conn *c)
{
	redisReader *reader = redisReaderCreate();

	(void)c;
	if (reader)
		reader->maxelements = ELEMENTS_MAX;
	return reader;
}
#else
static void *bounded_array(const redisReadTask *task, int n)
{
	const redisReplyObjectFunctions *usual = task->privdata;

	return n <= ELEMENTS_MAX ? usual->createArray(task, n) : NULL;
}

static redisReader *reader_new(struct conn *c)
{
	redisReader *reader = redisReaderCreate();

	if (!reader)
		return NULL;
	reader->privdata = reader->fn;
	c->bounded = *reader->fn;
	c->bounded.createArray = bounded_array;
	reader->fn = &c->bounded;
	return reader;
}
#endif

/* --- greeting ---------------------------------------------------------------------- */

static bool append_greeting(struct redis_wire *w, struct conn *c)
{
	const struct redis_url *u = &w->url;
	char db[12];
	struct str auth[3] = {STR("AUTH")}, select[2] = {STR("SELECT")};
	struct str name[3] = {STR("CLIENT"), STR("SETNAME"), str_from(w->name)};
	size_t n = 1;
	bool ok = true;

	c->greetings = 1;
	if (u->password[0]) {
		if (u->user[0])
			auth[n++] = str_from(u->user);
		auth[n++] = str_from(u->password);
		ok = append(c, n, auth);
		c->greetings++;
	}
	if (u->db) {
		(void)snprintf(db, sizeof(db), "%u", u->db);
		select[1] = str_from(db);
		ok = ok && append(c, 2, select);
		c->greetings++;
	}
	return ok && append(c, 3, name);
}

static void begin_greeting(struct redis_wire *w, struct conn *c)
{
	c->reader = reader_new(c);
	c->state = GREETING;
	if (!c->reader || !append_greeting(w, c))
		lost(w, c, "no memory");
}

/* A server that knows no names of clients, or forbids them, will do. */
static void hear_greeting(struct redis_wire *w, struct conn *c)
{
	while (c->state == GREETING && c->greetings > 0) {
		struct redisReply *reply = next_reply(w, c);
		const char *why;

		if (!reply)
			return;
		c->greetings--;
		if (reply->type == REDIS_REPLY_ERROR) {
			bool all = reply_refusal(reply, &why) == REFUSED_ALL;
			bool mild =
				str_starts(reply_text(reply), STR("NOPERM"));

			if (c->greetings > 0 || (all && !mild))
				lost(w, c, why);
		}
		freeReplyObject(reply);
	}
	if (c->state != GREETING)
		return;
	c->state = OPEN;
	c->opened_ms = mono_ms();
}

/* --- connecting -------------------------------------------------------------------- */

static void set_options(int fd)
{
	const int on = 1, idle_s = 30, every_s = 5, probes = 3;

	/* Neither is known to a socket that is a path: then it has no need. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s,
	                 sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s,
	                 sizeof(every_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

/* Tries the addresses that are left until one may come to something. */
static void connect_next(struct redis_wire *w, struct conn *c)
{
	int error = EADDRNOTAVAIL;

	while (c->next < c->to.n) {
		const struct address *a = &c->to.each[c->next++];

		drop(c);
		c->fd = socket(a->at.any.sa_family,
		               SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (c->fd < 0) {
			error = errno;
			continue;
		}
		set_options(c->fd);
		if (connect(c->fd, &a->at.any, a->n) == 0) {
			begin_greeting(w, c);
			return;
		}
		if (errno == EINPROGRESS) {
			c->state = CONNECTING;
			return;
		}
		error = errno;
	}
	lost_by_errno(w, c, error);
}

static void finish_connecting(struct redis_wire *w, struct conn *c)
{
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n))
		error = errno;
	if (error == 0)
		begin_greeting(w, c);
	else if (c->next < c->to.n)
		connect_next(w, c);
	else
		lost_by_errno(w, c, error);
}

static void take_addresses(struct redis_wire *w, struct conn *c)
{
	enum err e = OK;

	if (w->lookup)
		e = lookup_take(w->lookup, &c->to);
	if (e == ERR_BUSY)
		return;
	c->next = 0;
	if (e)
		lost(w, c, "its name is not known");
	else
		connect_next(w, c);
}

static enum err wire_open(void *arg, enum wire_channel ch, uint64_t timeout_ms)
{
	struct redis_wire *w = arg;
	struct conn *c = conn_of(arg, ch);

	wire_close(arg, ch);
	c->until_ms = mono_ms() + timeout_ms;
	c->state = LOOKING;
	if (w->lookup && lookup_start(w->lookup))
		lost(w, c, "no thread to look its name up");
	else
		take_addresses(w, c);
	return c->state == LOST ? ERR_UNAVAILABLE : OK;
}

static bool wire_is_open(void *arg, enum wire_channel ch)
{
	return conn_of(arg, ch)->state == OPEN;
}

/* --- waiting ----------------------------------------------------------------------- */

static bool is_under_way(const struct conn *c)
{
	return c->state == LOOKING || c->state == CONNECTING ||
	       c->state == GREETING;
}

static struct pollfd poll_of(const struct conn *c)
{
	struct pollfd fd = {.fd = c->fd, .events = POLLIN};

	if (c->state == CONNECTING)
		fd.events = POLLOUT;
	else if (c->sent < c->out.n)
		fd.events = POLLIN | POLLOUT;
	return fd;
}

static void progress(struct redis_wire *w, struct conn *c, short revents)
{
	if (c->state == LOOKING)
		take_addresses(w, c);
	else if (c->state == CONNECTING && revents)
		finish_connecting(w, c);
	if (c->state == GREETING) {
		flush(w, c);
		if (c->state == GREETING)
			hear_greeting(w, c);
	}
	if (is_under_way(c) && mono_ms() >= c->until_ms)
		lost(w, c, "no answer in time");
}

static int poll_ms(const struct redis_wire *w, uint64_t until_ms)
{
	uint64_t left, now = mono_ms();

	for (int ch = 0; ch < WIRE_CHANNELS; ch++)
		if (is_under_way(&w->conn[ch]) &&
		    w->conn[ch].until_ms < until_ms)
			until_ms = w->conn[ch].until_ms;
	left = clock_left(until_ms, now);
	return left > 60000 ? 60000 : (int)left;
}

static void wire_wait(void *arg, uint64_t until_ms)
{
	struct redis_wire *w = arg;
	struct pollfd fds[WIRE_CHANNELS + 1];
	uint64_t wakes;
	bool fell = false;
	int n;

	for (int ch = 0; ch < WIRE_CHANNELS; ch++) {
		struct conn *c = &w->conn[ch];

		if (c->state == OPEN)
			flush(w, c);
		fell |= c->state == LOST;
		fds[ch] = poll_of(c);
	}
	fds[WIRE_CHANNELS] =
		(struct pollfd){.fd = w->wake_fd, .events = POLLIN};
	n = poll(fds, COUNTOF(fds), fell ? 0 : poll_ms(w, until_ms));
	if (n > 0 && fds[WIRE_CHANNELS].revents)
		(void)!read(w->wake_fd, &wakes, sizeof(wakes));
	for (int ch = 0; ch < WIRE_CHANNELS; ch++)
		progress(w, &w->conn[ch], fds[ch].revents);
}

static void wire_wake(void *arg)
{
	struct redis_wire *w = arg;
	const uint64_t one = 1;

	/* It fails only when the thread is woken already. */
	(void)!write(w->wake_fd, &one, sizeof(one));
}

/* --- life -------------------------------------------------------------------------- */

static const struct wire operations = {
	.open = wire_open,
	.is_open = wire_is_open,
	.close = wire_close,
	.send = wire_send,
	.receive = wire_receive,
	.wait = wire_wait,
	.wake = wire_wake,
};

/* The one address of a path is known for good. */
static void set_path(struct redis_wire *w)
{
	struct address a = {.n = sizeof(struct sockaddr_un)};

	a.at.path.sun_family = AF_UNIX;
	/* redis_url has seen to its length. */
	memcpy(a.at.path.sun_path, w->url.host,
	       strnlen(w->url.host, sizeof(a.at.path.sun_path) - 1));
	for (int ch = 0; ch < WIRE_CHANNELS; ch++)
		w->conn[ch].to = (struct addresses){.n = 1, .each = {a}};
}

struct redis_wire *redis_wire_new(const struct redis_url *url, struct str name)
{
	AUTO(redis_wire) w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->ops = operations;
	w->ops.arg = w;
	w->url = *url;
	for (int ch = 0; ch < WIRE_CHANNELS; ch++)
		w->conn[ch].fd = -1;
	(void)snprintf(w->name, sizeof(w->name), "%.*s", STR_FMT(name));
	(void)snprintf(w->where, sizeof(w->where), "%s%s%s", url->host,
	               url->is_path ? "" : ":", url->port);
	w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->wake_fd < 0)
		return NULL;
	if (url->is_path) {
		set_path(w);
		return STEAL(w);
	}
	w->lookup = lookup_new(w->url.host, w->url.port, wire_wake, w);
	return w->lookup ? STEAL(w) : NULL;
}

void redis_wire_free(struct redis_wire *w)
{
	if (!w)
		return;
	lookup_free(w->lookup);
	for (int ch = 0; ch < WIRE_CHANNELS; ch++) {
		drop(&w->conn[ch]);
		buf_fini(&w->conn[ch].out);
	}
	if (w->wake_fd >= 0)
		(void)close(w->wake_fd);
	explicit_bzero(w->url.password, sizeof(w->url.password));
	free(w);
}

const struct wire *redis_wire_of(const struct redis_wire *w)
{
	return &w->ops;
}
