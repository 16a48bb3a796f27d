#include "common/bus/entry.h"

#include "common/base/trace.h"
#include "common/base/utf8.h"
#include "common/codec/mp.h"

#include <stddef.h>
#include <stdio.h>

#define ENTRY_VERSION   1
#define HEADER_NAME_MAX 64
#define HEADER_TEXT_MAX 4096
#define WAIT_MAX_S      86400

/* --- what both directions know -------------------------------------------- */

/* Texts of struct ctx under their names on the wire. */
static const struct text_key {
	struct str key;
	size_t offset; /* of a struct str in struct ctx */
	size_t max;
} texts[] = {
	{STR("rid"), offsetof(struct ctx, rid), ENTRY_RID_MAX},
	{STR("tp"), offsetof(struct ctx, tp), 128},
	{STR("sub"), offsetof(struct ctx, sub), ENTRY_SUB_MAX},
	{STR("hnd"), offsetof(struct ctx, hnd), ENTRY_HND_MAX},
	{STR("sid"), offsetof(struct ctx, sid), ENTRY_SID_MAX},
	{STR("ip"), offsetof(struct ctx, ip), ENTRY_IP_MAX},
	{STR("ua"), offsetof(struct ctx, ua), ENTRY_UA_MAX},
	{STR("lang"), offsetof(struct ctx, lang), 16},
	{STR("idk"), offsetof(struct ctx, idk), ENTRY_IDK_MAX},
	{STR("jti"), offsetof(struct ctx, jti), ENTRY_SID_MAX},
	{STR("form"), offsetof(struct ctx, form), 16},
	{STR("vis"), offsetof(struct ctx, visitor), ENTRY_VISITOR_MAX},
	{STR("trk"), offsetof(struct ctx, track), 8},
	{STR("lei"), offsetof(struct ctx, last_event), ENTRY_LEI_MAX},
};

/* msgpack values of struct entry. */
static const struct value_key {
	struct str key;
	size_t offset; /* of a struct str in struct entry */
	bool map;      /* must be one */
} values[] = {
	{STR("q"), offsetof(struct entry, query), true},
	{STR("p"), offsetof(struct entry, path), true},
	{STR("b"), offsetof(struct entry, body), false},
};

static struct str text_at(const void *base, size_t offset)
{
	struct str s;

	memcpy(&s, (const char *)base + offset, sizeof(s));
	return s;
}

static void put_at(void *base, size_t offset, struct str s)
{
	memcpy((char *)base + offset, &s, sizeof(s));
}

/* At most max bytes of s, cut before a character, not in it. */
static struct str clip(struct str s, size_t max)
{
	if (s.n <= max)
		return s;
	while (max && ((unsigned char)s.p[max] & 0xc0) == 0x80)
		max--;
	return (struct str){s.p, max};
}

/* --- request ---------------------------------------------------------------- */

static struct str text_of(const struct ctx *cx, const struct text_key *row)
{
	struct str s = text_at(cx, row->offset);

	if (row->offset != offsetof(struct ctx, ua))
		return s;
	s = clip(s, row->max);
	return utf8_valid(s) ? s : (struct str){NULL, 0};
}

/* What there is to say of cx and e, row by row: its number stands first. */
struct outgoing {
	struct str texts[COUNTOF(texts)], values[COUNTOF(values)];
	size_t pairs;
};

static void gather(const struct ctx *cx, const struct entry *e,
                   struct outgoing *o)
{
	o->pairs = 2;
	for (size_t i = 0; i < COUNTOF(texts); i++) {
		o->texts[i] = text_of(cx, &texts[i]);
		o->pairs += o->texts[i].n > 0;
	}
	for (size_t i = 0; i < COUNTOF(values); i++) {
		o->values[i] = text_at(e, values[i].offset);
		o->pairs += o->values[i].n > 0;
	}
	o->pairs += cx->role != ROLE_GUEST;
	o->pairs += cx->tier != TIER_LIMITED;
	o->pairs += cx->scopes != 0;
	o->pairs += cx->auth_time_s != 0;
}

void entry_hand(const struct ctx *from, struct ctx *cx)
{
	static const struct str absent;

	for (size_t i = 0; i < COUNTOF(texts); i++) {
		struct str s = text_of(from, &texts[i]);

		put_at(cx, texts[i].offset, s.n ? s : absent);
	}
	cx->role = from->role;
	cx->tier = from->tier;
	cx->scopes = from->scopes;
	cx->auth_time_s = from->auth_time_s;
}

void entry_pack(struct buf *b, const struct ctx *cx, const struct entry *e)
{
	struct outgoing o;

	gather(cx, e, &o);
	mp_map(b, o.pairs);
	mp_kv_i64(b, "v", ENTRY_VERSION);
	mp_kv_str(b, "op", e->op);
	for (size_t i = 0; i < COUNTOF(texts); i++) {
		if (!o.texts[i].n)
			continue;
		mp_str(b, texts[i].key);
		mp_str(b, o.texts[i]);
	}
	if (cx->role != ROLE_GUEST)
		mp_kv_text(b, "role", role_name(cx->role));
	if (cx->tier != TIER_LIMITED)
		mp_kv_text(b, "tier", tier_name(cx->tier));
	if (cx->scopes)
		mp_kv_i64(b, "scp", cx->scopes);
	if (cx->auth_time_s)
		mp_kv_i64(b, "at", cx->auth_time_s);
	for (size_t i = 0; i < COUNTOF(values); i++) {
		if (!o.values[i].n)
			continue;
		mp_str(b, values[i].key);
		mp_raw(b, o.values[i]);
	}
}

size_t entry_span_at(struct str packed)
{
	struct str tp = mp_find_str(packed, "tp", STR(""));
	struct trace_parent ignored;

	return trace_parse(tp, &ignored)
	               ? (size_t)(tp.p - packed.p) + TRACE_SPAN_AT
	               : 0;
}

static bool get_text(struct mp *m, size_t max, struct str *out)
{
	return mp_get_str(m, out) && out->n <= max && utf8_valid(*out);
}

static bool get_role(struct mp *m, enum role *out)
{
	struct str s;

	return mp_get_str(m, &s) && role_from_str(s, out);
}

static bool get_tier(struct mp *m, enum tier *out)
{
	struct str s;

	return mp_get_str(m, &s) && tier_from_str(s, out);
}

static bool get_scopes(struct mp *m, uint32_t *out)
{
	uint64_t v;

	if (!mp_get_u64(m, &v))
		return false;
	*out = (uint32_t)v; /* bits beyond are of a later version */
	return true;
}

/* What has come so far; each key may come once. */
enum {
	SEEN_V = 1,
	SEEN_OP = 2,
	SEEN_ROLE = 4,
	SEEN_TIER = 8,
	SEEN_SCP = 16,
	SEEN_AT = 32,
	SEEN_TEXT = 64, /* and the bits above it, one for each row */
	SEEN_VALUE = SEEN_TEXT << COUNTOF(texts),
};

struct request {
	struct mp in;
	struct ctx *cx;
	struct entry *e;
	uint32_t seen;
};

static bool first(struct request *r, uint32_t bit)
{
	bool is = !(r->seen & bit);

	r->seen |= bit;
	return is;
}

static bool read_number_or_name(struct request *r, struct str key, bool *mine)
{
	int64_t version;

	if (str_eq(key, STR("v")))
		return first(r, SEEN_V) && mp_get_i64(&r->in, &version) &&
		       version == ENTRY_VERSION;
	if (str_eq(key, STR("op")))
		return first(r, SEEN_OP) &&
		       get_text(&r->in, ENTRY_OP_MAX, &r->e->op);
	if (str_eq(key, STR("role")))
		return first(r, SEEN_ROLE) && get_role(&r->in, &r->cx->role);
	if (str_eq(key, STR("tier")))
		return first(r, SEEN_TIER) && get_tier(&r->in, &r->cx->tier);
	if (str_eq(key, STR("scp")))
		return first(r, SEEN_SCP) && get_scopes(&r->in, &r->cx->scopes);
	if (str_eq(key, STR("at")))
		return first(r, SEEN_AT) &&
		       mp_get_i64(&r->in, &r->cx->auth_time_s);
	*mine = false;
	return true;
}

static bool read_text(struct request *r, const struct text_key *row)
{
	uint32_t bit = (uint32_t)SEEN_TEXT << (row - texts);
	struct str s;

	if (!first(r, bit) || !get_text(&r->in, row->max, &s))
		return false;
	put_at(r->cx, row->offset, s);
	return true;
}

static bool read_value(struct request *r, const struct value_key *row)
{
	uint32_t bit = (uint32_t)SEEN_VALUE << (row - values);
	struct str s;

	if (!first(r, bit) || (row->map && mp_peek(&r->in) != MP_MAP) ||
	    !mp_skip(&r->in, &s))
		return false;
	put_at(r->e, row->offset, s);
	return true;
}

static bool read_pair(struct request *r)
{
	bool mine = true, ok;
	struct str key;

	if (!mp_get_str(&r->in, &key))
		return false;
	ok = read_number_or_name(r, key, &mine);
	if (mine)
		return ok;
	for (size_t i = 0; i < COUNTOF(texts); i++)
		if (str_eq(key, texts[i].key))
			return read_text(r, &texts[i]);
	for (size_t i = 0; i < COUNTOF(values); i++)
		if (str_eq(key, values[i].key))
			return read_value(r, &values[i]);
	return mp_skip(&r->in, NULL);
}

/* The request ID stands in headers and log lines of other systems. */
static bool visible(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.n > 0;
}

enum err entry_read(struct str bytes, struct ctx *cx, struct entry *e)
{
	struct ctx c = {
		.service = cx->service,
		.arena = cx->arena,
		.deadline_ms = cx->deadline_ms,
		.principal = cx->principal,
	};
	struct entry en = {.op = {NULL, 0}};
	struct request r = {.in = mp_open(bytes), .cx = &c, .e = &en};
	uint32_t pairs;

	if (!mp_get_map(&r.in, &pairs))
		return ERR_INVALID;
	for (uint32_t i = 0; i < pairs; i++)
		if (!read_pair(&r))
			return ERR_INVALID;
	if (r.in.p != r.in.end || !(r.seen & SEEN_V) || en.op.n == 0 ||
	    !visible(c.rid))
		return ERR_INVALID;
	*cx = c;
	*e = en;
	return OK;
}

/* --- reply ------------------------------------------------------------------ */

static void pack_headers(struct buf *b, const struct reply *r)
{
	mp_kv_map(b, "h", r->headers_n);
	for (size_t i = 0; i < r->headers_n; i++) {
		mp_str(b, r->headers[i].name);
		mp_str(b, r->headers[i].value);
	}
}

/* Words cut to fit a fixed array may end inside a character. */
static struct str whole_characters(const char *words)
{
	struct str s = str_from(words);
	size_t at = 0;
	uint32_t cp;

	while (utf8_next(s, &at, &cp))
		;
	return (struct str){s.p, at};
}

static void pack_faults(struct buf *b, const struct problem *pb)
{
	mp_kv_array(b, "f", pb->faults_n);
	for (size_t i = 0; i < pb->faults_n; i++) {
		mp_array(b, 3);
		mp_str(b, whole_characters(pb->faults[i].pointer));
		mp_text(b, pb->faults[i].code);
		mp_str(b, whole_characters(pb->faults[i].message));
	}
}

static void pack_quota(struct buf *b, const struct quota_problem *q)
{
	mp_kv_array(b, "qu", 5);
	mp_text(b, q->period);
	mp_text(b, tier_name(q->tier));
	mp_i64(b, q->usage);
	mp_i64(b, q->limit);
	mp_i64(b, q->reset_s);
}

static void pack_problem(struct buf *b, const struct problem *pb, enum err e)
{
	bool mine;
	size_t faults, challenge, quota, wait = pb->retry_after_s != 0;

	/* Codes without a status of their own, and their words, stay inside. */
	if (err_http(e) == 500)
		e = ERR_INTERNAL;
	mine = pb->code == e;
	faults = mine && pb->faults_n;
	challenge = mine && pb->challenge[0];
	quota = mine && pb->quota.period[0];
	mp_kv_map(b, "e", 2 + wait + faults + challenge + quota);
	mp_kv_i64(b, "c", e);
	mp_kv_str(b, "d",
	          whole_characters(mine && pb->detail[0] ? pb->detail
	                                                 : err_text(e)));
	if (wait)
		mp_kv_i64(b, "ra", pb->retry_after_s);
	if (faults)
		pack_faults(b, pb);
	if (challenge)
		mp_kv_text(b, "ch", pb->challenge);
	if (quota)
		pack_quota(b, &pb->quota);
}

static void pack_times(struct buf *b, const struct hop_times *t)
{
	mp_kv_array(b, "t", 4);
	mp_i64(b, (int64_t)t->lane);
	mp_i64(b, (int64_t)t->handler);
	mp_i64(b, (int64_t)t->database);
	mp_i64(b, (int64_t)t->cache);
}

void reply_pack(struct buf *b, const struct ctx *cx, enum err e,
                const struct reply *r)
{
	bool headers = r && r->headers_n, body = r && !e && r->body.n;
	const struct hop_times *t = &cx->spent;
	bool times = (t->lane | t->handler | t->database | t->cache) != 0;

	if (r && r->body.failed) {
		/* What could not be packed must not leave as an empty body. */
		e = ERR_NOMEM;
		body = false;
	}
	mp_map(b, 1 + (size_t)(e || body) + headers + times);
	if (e) {
		mp_kv_i64(b, "st", err_http(e));
		pack_problem(b, &cx->problem, e);
	} else {
		mp_kv_i64(b, "st", r && r->status ? r->status : 200);
		if (body) {
			mp_text(b, "b");
			mp_raw(b, buf_view(&r->body));
		}
	}
	if (headers)
		pack_headers(b, r);
	if (times)
		pack_times(b, t);
}

/* RFC 9110, 5.6.2. */
static bool token(struct str s)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool alnum = (c >= '0' && c <= '9') ||
		             ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');

		if (!alnum && (c == '\0' || !strchr(others, c)))
			return false;
	}
	return s.n > 0;
}

static bool field_value(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return true;
}

static bool may_be_header(struct str name, struct str value)
{
	return name.n <= HEADER_NAME_MAX && token(name) &&
	       value.n <= HEADER_TEXT_MAX && field_value(value) &&
	       utf8_valid(value);
}

static bool read_headers(struct mp *m, struct reply_view *out)
{
	uint32_t n;

	if (!mp_get_map(m, &n) || n > REPLY_HEADERS_MAX)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		struct str name, value;

		if (!mp_get_str(m, &name) || !mp_get_str(m, &value) ||
		    !may_be_header(name, value))
			return false;
		out->headers[i].name = name;
		out->headers[i].value = value;
	}
	out->headers_n = n;
	return true;
}

/* A later version may tell more. */
static bool read_times(struct mp *m, struct hop_times *out)
{
	uint64_t v[4];
	uint32_t n;

	if (!mp_get_array(m, &n) || n < COUNTOF(v))
		return false;
	for (size_t i = 0; i < COUNTOF(v); i++)
		if (!mp_get_u64(m, &v[i]))
			return false;
	for (; n > COUNTOF(v); n--)
		if (!mp_skip(m, NULL))
			return false;
	*out = (struct hop_times){v[0], v[1], v[2], v[3]};
	return true;
}

static void copy_text(char *out, size_t size, struct str s)
{
	s = clip(s, size - 1);
	(void)snprintf(out, size, "%.*s", STR_FMT(s));
}

static enum err read_fault(struct mp *m, struct arena *a, struct fault *f)
{
	struct str pointer, code, message;
	uint32_t n;

	if (!mp_get_array(m, &n) || n != 3 || !get_text(m, 4096, &pointer) ||
	    !get_text(m, 64, &code) || !get_text(m, 4096, &message))
		return ERR_PEER_LOST;
	copy_text(f->pointer, sizeof(f->pointer), pointer);
	copy_text(f->message, sizeof(f->message), message);
	f->code = arena_str(a, code).p;
	return f->code ? OK : ERR_NOMEM;
}

static enum err read_faults(struct mp *m, struct arena *a, struct problem *pb)
{
	enum err e = OK;
	uint32_t n;

	if (pb->faults || !mp_get_array(m, &n) || n > CTX_FAULTS_MAX)
		return ERR_PEER_LOST;
	pb->faults = arena_alloc(a, CTX_FAULTS_MAX * sizeof(*pb->faults));
	if (!pb->faults)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < n && !e; i++)
		e = read_fault(m, a, &pb->faults[i]);
	pb->faults_n = n;
	return e;
}

static bool read_quota(struct mp *m, struct quota_problem *out)
{
	struct quota_problem q = {.usage = 0};
	struct str period, tier;
	uint32_t n;

	if (!mp_get_array(m, &n) || n != 5 ||
	    !get_text(m, sizeof(q.period) - 1, &period) ||
	    !get_text(m, 32, &tier) || !tier_from_str(tier, &q.tier) ||
	    !mp_get_i64(m, &q.usage) || !mp_get_i64(m, &q.limit) ||
	    !mp_get_i64(m, &q.reset_s) || q.usage < 0 || q.limit < 0 ||
	    q.reset_s < 0)
		return false;
	copy_text(q.period, sizeof(q.period), period);
	*out = q;
	return true;
}

static enum err read_problem_pair(struct mp *m, struct arena *a,
                                  struct problem *pb)
{
	struct str key, detail;
	int64_t v;

	if (!mp_get_str(m, &key))
		return ERR_PEER_LOST;
	if (str_eq(key, STR("c"))) {
		if (!mp_get_i64(m, &v) || v == OK)
			return ERR_PEER_LOST;
		pb->code = err_from_int(v);
	} else if (str_eq(key, STR("d"))) {
		if (!get_text(m, 4096, &detail))
			return ERR_PEER_LOST;
		copy_text(pb->detail, sizeof(pb->detail), detail);
	} else if (str_eq(key, STR("ra"))) {
		if (!mp_get_i64(m, &v) || v < 0 || v > WAIT_MAX_S)
			return ERR_PEER_LOST;
		pb->retry_after_s = (unsigned)v;
	} else if (str_eq(key, STR("ch"))) {
		if (!get_text(m, sizeof(pb->challenge) - 1, &detail))
			return ERR_PEER_LOST;
		copy_text(pb->challenge, sizeof(pb->challenge), detail);
	} else if (str_eq(key, STR("f"))) {
		return read_faults(m, a, pb);
	} else if (str_eq(key, STR("qu"))) {
		return read_quota(m, &pb->quota) ? OK : ERR_PEER_LOST;
	} else if (!mp_skip(m, NULL)) {
		return ERR_PEER_LOST;
	}
	return OK;
}

static enum err read_problem(struct mp *m, struct arena *a, struct problem *pb)
{
	enum err e = OK;
	uint32_t pairs;

	if (!mp_get_map(m, &pairs))
		return ERR_PEER_LOST;
	for (uint32_t i = 0; i < pairs && !e; i++)
		e = read_problem_pair(m, a, pb);
	return e ? e : pb->code ? OK : ERR_PEER_LOST;
}

static enum err read_reply_pair(struct mp *m, struct arena *a,
                                struct reply_view *v)
{
	struct str key;
	int64_t status;

	if (!mp_get_str(m, &key))
		return ERR_PEER_LOST;
	if (str_eq(key, STR("st"))) {
		if (!mp_get_i64(m, &status) || status < 200 || status > 599)
			return ERR_PEER_LOST;
		v->status = (unsigned)status;
	} else if (str_eq(key, STR("e"))) {
		return read_problem(m, a, &v->problem);
	} else if (str_eq(key, STR("h"))) {
		return read_headers(m, v) ? OK : ERR_PEER_LOST;
	} else if (str_eq(key, STR("t"))) {
		return read_times(m, &v->times) ? OK : ERR_PEER_LOST;
	} else if (!mp_skip(m, str_eq(key, STR("b")) ? &v->body : NULL)) {
		return ERR_PEER_LOST;
	}
	return OK;
}

enum err reply_read(struct str bytes, struct ctx *cx, struct reply_view *out)
{
	struct reply_view v = {.status = 0};
	struct mp m = mp_open(bytes);
	enum err e = OK;
	uint32_t pairs;

	if (!mp_get_map(&m, &pairs))
		return ERR_PEER_LOST;
	for (uint32_t i = 0; i < pairs && !e; i++)
		e = read_reply_pair(&m, cx->arena, &v);
	if (e)
		return e;
	if (m.p != m.end || v.status == 0 || (v.problem.code && v.body.n))
		return ERR_PEER_LOST;
	v.err = v.problem.code;
	*out = v;
	return OK;
}

bool reply_hand(const struct ctx *cx, const struct reply *r,
                struct reply_view *out)
{
	*out = (struct reply_view){.status = r->status ? r->status : 200,
	                           .body = buf_view(&r->body),
	                           .headers_n = r->headers_n,
	                           .times = cx->spent};
	for (size_t i = 0; i < r->headers_n; i++) {
		struct str name = r->headers[i].name;
		struct str value = r->headers[i].value;

		if (!may_be_header(name, value))
			return false;
		out->headers[i].name = name;
		out->headers[i].value = value;
	}
	return true;
}
