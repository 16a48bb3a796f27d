#include "common/cache/remote_store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define VERSION       1
#define FLAG_NEGATIVE 1
#define HEAD_MIN      32

/* --- names ----------------------------------------------------------------------- */

bool store_names_init(struct store_names *n, struct str space)
{
	static const struct str kind[] = {STR("g"), STR("-"), STR("forget"),
	                                  STR("v:")};
	struct str *const name[] = {&n->hash, &n->nothing, &n->channel,
	                            &n->prefix};
	AUTO_BUF b = {0};
	size_t at = 0;

	*n = (struct store_names){0};
	for (size_t i = 0; i < COUNTOF(kind); i++) {
		buf_str(&b, STR("kae:1:{"));
		buf_str(&b, space);
		buf_str(&b, STR("}:"));
		buf_str(&b, kind[i]);
		name[i]->n = b.n - at;
		at = b.n;
	}
	if (b.failed)
		return false;
	n->text = STEAL(b.p);
	at = 0;
	for (size_t i = 0; i < COUNTOF(kind); i++) {
		name[i]->p = n->text + at;
		at += name[i]->n;
	}
	return true;
}

void store_names_fini(struct store_names *n)
{
	free(n->text);
	*n = (struct store_names){0};
}

/* --- scripts --------------------------------------------------------------------- */

/*
 * Each begins by removing a key, also where there is none to remove: a script
 * that has written may go on to write when the server is out of memory, and a
 * server that takes no writes (a replica, a failing disk) says so at once.
 * Only a set may be refused for lack of memory: a forgetting must not be.
 */
static const struct str scripts[SCRIPTS] = {
	/*
	 * KEYS hash, nothing; ARGV run, new epoch, epoch that is not to be
	 * any longer, channel, slot of everything.  Keeps the epoch if it was
	 * made in this run of the server, else begins anew: another process
	 * may have come up with a dump, or be a replica, that lacks the last
	 * forgettings.  Answers the whole hash.
	 */
	[SCRIPT_BEGIN] =
		STR("redis.call('UNLINK',KEYS[2])\n"
                    "local h={}\n"
                    "if redis.call('TYPE',KEYS[1]).ok=='hash' then\n"
                    " h=redis.call('HMGET',KEYS[1],'e','r')\n"
                    "end\n"
                    "local e=h[1] or ''\n"
                    "if #e~=16 or h[2]~=ARGV[1] or e==ARGV[3] then\n"
                    " redis.call('UNLINK',KEYS[1])\n"
                    " redis.call('HSET',KEYS[1],'e',ARGV[2],'r',ARGV[1])\n"
                    " redis.call('PUBLISH',ARGV[4],\n"
                    "  ARGV[2]..' '..ARGV[5]..' 0')\n"
                    "end\n"
                    "return redis.call('HGETALL',KEYS[1])\n"),
	/*
	 * KEYS hash, value's; ARGV value, ms to live, the server's clock from
	 * which they count, then field and what it must be for each of epoch
	 * and generations.  Answers 1 if it was kept.  What took long to load
	 * or lay on the way, as before a server that was stopped, has that much
	 * less time to live.
	 */
	[SCRIPT_SET] =
		STR("local f={}\n"
                    "for i=4,#ARGV,2 do f[#f+1]=ARGV[i] end\n"
                    "local h=redis.call('HMGET',KEYS[1],unpack(f))\n"
                    "for i,v in ipairs(h) do\n"
                    " if (v or '0')~=ARGV[3+2*i] then return 0 end\n"
                    "end\n"
                    "local t=redis.call('TIME')\n"
                    "local late=t[1]*1000+math.floor(t[2]/1000)-ARGV[3]\n"
                    "local ms=ARGV[2]-math.max(late,0)\n"
                    "if ms<1 then return 0 end\n"
                    "redis.call('SET',KEYS[2],ARGV[1],'PX',ms)\n"
                    "return 1\n"),
	/* KEYS hash, value's or nothing; ARGV channel, slots.  Answers the
	 * epoch and the new generation of each slot. */
	[SCRIPT_FORGET] =
		STR("redis.call('UNLINK',KEYS[2])\n"
                    "local e=redis.call('HGET',KEYS[1],'e')\n"
                    "e=e or '0000000000000000'\n"
                    "local out={e}\n"
                    "for i=2,#ARGV do\n"
                    " local g=redis.call('HINCRBY',KEYS[1],ARGV[i],1)\n"
                    " redis.call('PUBLISH',ARGV[1],e..' '..ARGV[i]..' '..g)\n"
                    " out[i]=g\n"
                    "end\n"
                    "return out\n"),
};

struct str store_script_text(enum store_script s)
{
	return scripts[s];
}

static const char hex[] = "0123456789abcdef";

bool store_script_sha(enum store_script s, char out[SCRIPT_SHA_MAX])
{
	return script_sha(scripts[s], out);
}

/* --- words ----------------------------------------------------------------------- */

void words_add(struct words *w, struct str s)
{
	assert(w->n < WORDS_MAX);
	w->word[w->n++] = s;
}

void words_add_u64(struct words *w, uint64_t v)
{
	char *at = w->text + w->used;
	int n = snprintf(at, WORDS_TEXT_MAX - w->used, "%" PRIu64, v);

	assert(n > 0 && (size_t)n < WORDS_TEXT_MAX - w->used);
	w->used += (size_t)n;
	words_add(w, (struct str){at, (size_t)n});
}

void epoch_text(uint64_t epoch, char out[STORE_EPOCH_MAX])
{
	(void)snprintf(out, STORE_EPOCH_MAX, "%016" PRIx64, epoch);
}

/* --- numbers in texts ------------------------------------------------------------- */

bool str_to_u64(struct str s, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9' ||
		    __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
			return false;
	*out = v;
	return true;
}

static bool to_epoch(struct str s, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n != STORE_EPOCH_MAX - 1)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		const char *digit = memchr(hex, s.p[i], sizeof(hex) - 1);

		if (!digit)
			return false;
		v = v << 4 | (uint64_t)(digit - hex);
	}
	*out = v;
	return true;
}

/* --- values ---------------------------------------------------------------------- */

static void put(struct buf *b, uint64_t v, unsigned bytes)
{
	while (bytes-- > 0)
		buf_char(b, (char)(v >> (8 * bytes) & 0xff));
}

static uint64_t take(struct str *s, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | (unsigned char)s->p[i];
	s->p += bytes;
	s->n -= bytes;
	return v;
}

void stored_encode(struct buf *out, const struct stored *v)
{
	put(out, VERSION, 1);
	put(out, v->negative ? FLAG_NEGATIVE : 0, 1);
	put(out, v->marks.n, 1);
	put(out, 0, 1);
	put(out, v->bytes.n, 4);
	put(out, v->stale_ms, 8);
	put(out, v->marks.epoch, 8);
	put(out, v->marks.gen_all, 8);
	for (size_t i = 0; i < v->marks.n; i++) {
		put(out, v->marks.slot[i], 2);
		put(out, v->marks.gen[i], 8);
	}
	buf_str(out, v->bytes);
}

bool stored_decode(struct str in, struct stored *out)
{
	struct stored v = {.marks = {.known = true}};
	uint64_t flags, bytes;

	if (in.n < HEAD_MIN || take(&in, 1) != VERSION)
		return false;
	flags = take(&in, 1);
	v.negative = flags == FLAG_NEGATIVE;
	v.marks.n = (size_t)take(&in, 1);
	if (flags > FLAG_NEGATIVE || v.marks.n > REMOTE_SLOTS_MAX ||
	    take(&in, 1) != 0)
		return false;
	bytes = take(&in, 4);
	v.stale_ms = take(&in, 8);
	v.marks.epoch = take(&in, 8);
	v.marks.gen_all = take(&in, 8);
	if (bytes > REMOTE_VALUE_MAX || in.n != v.marks.n * 10 + bytes)
		return false;
	for (size_t i = 0; i < v.marks.n; i++) {
		v.marks.slot[i] = (uint16_t)take(&in, 2);
		v.marks.gen[i] = take(&in, 8);
	}
	v.bytes = in;
	*out = v;
	return true;
}

bool message_decode(struct str in, struct message *out)
{
	struct message m;
	struct str epoch, slot;
	uint64_t n;

	if (in.n > STORE_MESSAGE_MAX)
		return false;
	epoch = str_cut(&in, ' ');
	slot = str_cut(&in, ' ');
	if (!to_epoch(epoch, &m.epoch) || !str_to_u64(slot, &n) ||
	    n > CACHE_SLOT_ALL || !str_to_u64(in, &m.gen))
		return false;
	m.slot = (unsigned)n;
	*out = m;
	return true;
}

/* --- answers --------------------------------------------------------------------- */

struct str reply_text(const struct redisReply *r)
{
	bool has = r->type == REDIS_REPLY_STRING ||
	           r->type == REDIS_REPLY_STATUS ||
	           r->type == REDIS_REPLY_ERROR;

	return has && r->str ? (struct str){r->str, r->len} : STR("");
}

bool reply_u64(const struct redisReply *r, uint64_t *out)
{
	if (r->type == REDIS_REPLY_INTEGER && r->integer >= 0) {
		*out = (uint64_t)r->integer;
		return true;
	}
	return r->type == REDIS_REPLY_STRING && str_to_u64(reply_text(r), out);
}

bool reply_gen(const struct redisReply *r, uint64_t *out)
{
	if (r->type != REDIS_REPLY_NIL)
		return reply_u64(r, out);
	*out = 0;
	return true;
}

bool reply_epoch(const struct redisReply *r, uint64_t *out)
{
	return r->type == REDIS_REPLY_STRING && to_epoch(reply_text(r), out);
}

struct str info_field(struct str info, struct str name)
{
	while (info.n > 0) {
		struct str line = str_cut(&info, '\n');
		struct str value = line, key = str_cut(&value, ':');

		if (!str_eq(key, name))
			continue;
		if (value.n > 0 && value.p[value.n - 1] == '\r')
			value.n--;
		return value;
	}
	return STR("");
}

/* Found by how the answer begins. */
static const struct {
	struct str begins;
	enum refusal means;
	const char *why;
} refusals[] = {
	{STR("NOSCRIPT"), REFUSED_SCRIPT, "does not know the script"},
	{STR("WRONGTYPE"), REFUSED_TYPE, "something else is kept by our name"},
	{STR("OOM"), REFUSED_FULL, "has no memory left for writes"},
	{STR("LOADING"), REFUSED_ALL, "is loading its data"},
	{STR("READONLY"), REFUSED_ALL, "is a read-only replica"},
	{STR("MASTERDOWN"), REFUSED_ALL, "is a replica without its primary"},
	{STR("NOREPLICAS"), REFUSED_ALL, "has too few replicas for writes"},
	{STR("MISCONF"), REFUSED_ALL, "takes no writes: its disk fails"},
	{STR("NOAUTH"), REFUSED_ALL, "asks for a password"},
	{STR("WRONGPASS"), REFUSED_ALL, "refuses user or password"},
	{STR("NOPERM"), REFUSED_ALL, "does not let this user do it"},
	{STR("DENIED"), REFUSED_ALL, "is in protected mode"},
	{STR("MOVED"), REFUSED_ALL, "is a cluster: another node has our keys"},
	{STR("ASK"), REFUSED_ALL, "is a cluster: our keys are moving"},
	{STR("CLUSTERDOWN"), REFUSED_ALL, "is a cluster that is down"},
	{STR("BUSY"), REFUSED_ONCE, "is busy with somebody's script"},
	{STR("ERR max number of clients"), REFUSED_ALL, "has too many clients"},
	{STR("ERR invalid password"), REFUSED_ALL, "refuses the password"},
	{STR("ERR operation not permitted"), REFUSED_ALL,
         "asks for a password"},
	{STR("ERR Client sent AUTH"), REFUSED_ALL, "has no password set"},
	{STR("ERR AUTH <password> called"), REFUSED_ALL, "has no password set"},
	{STR("ERR DB index is out of range"), REFUSED_ALL,
         "has no database of that number"},
};

enum refusal reply_refusal(const struct redisReply *r, const char **why)
{
	struct str said = reply_text(r);
	/* Before Redis 7 what a script met stands inside of other words. */
	bool inside = str_starts(said, STR("ERR Error running script"));

	for (size_t i = 0; i < COUNTOF(refusals); i++) {
		struct str b = refusals[i].begins;

		if (inside ? memmem(said.p, said.n, b.p, b.n) != NULL
		           : str_starts(said, b)) {
			*why = refusals[i].why;
			return refusals[i].means;
		}
	}
	*why = "answers with an error";
	return REFUSED_ONCE;
}

bool reply_time(const struct redisReply *r, uint64_t *out_ms)
{
	uint64_t seconds, us;

	if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
	    !reply_u64(r->element[0], &seconds) ||
	    !reply_u64(r->element[1], &us) || seconds > UINT32_MAX)
		return false;
	*out_ms = seconds * 1000 + us / 1000;
	return true;
}
