/*
 * profile - correcting what we hold of a person (GDPR 16): PATCH
 * /api/user/rectify.  Another address is another way in, so it asks who it is
 * first (ASVS 5.0 7.5.1); a name or a colour does not.
 */
#include "svc-auth/audit.h"
#include "svc-auth/email.h"
#include "svc-auth/methods.h"
#include "svc-auth/preferences.h"
#include "svc-auth/stepup.h"
#include "svc-auth/stmts.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/codec/json.h"
#include "common/codec/text.h"

#include <stdio.h>

#define NAME_CHARS_MAX 100
#define NAME_AT        "/updates/display_name"
#define EMAIL_AT       "/updates/email"
#define PREFERENCES_AT "/updates/preferences"

enum part { PART_EMAIL = 1, PART_NAME = 2, PART_PREFERENCES = 4 };
static const char *const part_names[] = {"email", "display_name",
                                         "preferences"};

struct rectifying {
	struct auth *au;
	struct ctx *cx;
	struct str updates;
	unsigned parts;         /* enum part */
	struct str email, name; /* name p NULL: none any more */
	struct str preferences; /* the change, a map */
	struct str email_was, name_was, preferences_was; /* in the arena */
	bool found;
};

/* --- reading the request ------------------------------------------------------------ */

/* What may stand in a JSON Pointer as it is. */
static bool plain(struct str key)
{
	for (size_t i = 0; i < key.n; i++)
		if (key.p[i] <= ' ' || key.p[i] == '~' || key.p[i] == '/' ||
		    key.p[i] == 0x7f)
			return false;
	return key.n > 0 && key.n <= 40;
}

static enum err stranger(struct ctx *cx, struct str key)
{
	char pointer[72] = "/updates";

	if (plain(key))
		(void)snprintf(pointer, sizeof(pointer), "/updates/%.*s",
		               STR_FMT(key));
	return ctx_fault(cx, pointer, "UNKNOWN",
	                 "Only email, display_name and preferences can be "
	                 "corrected here.");
}

static enum err read_email(struct rectifying *r, struct str value)
{
	struct mp m = mp_open(value);
	struct str s;

	r->parts |= PART_EMAIL;
	if (!mp_get_str(&m, &s) || !s.p || !email_valid(text_trim(s)))
		return ctx_fault(
			r->cx, EMAIL_AT, "INVALID",
			"It must be an address such as ada@example.org.");
	r->email = text_trim(s);
	return OK;
}

static enum err read_name(struct rectifying *r, struct str value)
{
	struct mp m = mp_open(value);
	struct str s = {NULL, 0};
	size_t length = 0;

	r->parts |= PART_NAME;
	if (mp_get_nil(&m))
		return OK; /* none any more */
	if (mp_get_str(&m, &s) && s.p)
		s = text_trim(s);
	if (!s.p || !text_check(s, true, &length) || length < 1 ||
	    length > NAME_CHARS_MAX)
		return ctx_fault(r->cx, NAME_AT, "TEXT",
		                 "It must have 1 to %d characters, and no "
		                 "control characters, < or >.",
		                 NAME_CHARS_MAX);
	r->name = s;
	return OK;
}

/* Whether the values are good is asked where the old ones are known. */
static enum err read_preferences(struct rectifying *r, struct str value)
{
	AUTO_BUF none = {0};

	r->parts |= PART_PREFERENCES;
	r->preferences = value;
	return preferences_merge(r->cx, PREFERENCES_AT, STR(""), value, &none);
}

static enum err read_updates(struct rectifying *r)
{
	static enum err (*const readers[])(struct rectifying *,
	                                   struct str) = {read_email, read_name,
	                                                  read_preferences};
	struct mp m = mp_open(r->updates);
	enum err e = OK;
	uint32_t n;

	if (!mp_get_map(&m, &n))
		return ctx_fault(r->cx, "/updates", "TYPE",
		                 "updates must be an object.");
	if (n == 0)
		return ctx_fault(r->cx, "/updates", "REQUIRED",
		                 "There is nothing to correct in it.");
	for (; n > 0; n--) {
		struct str key, value;
		enum err one = ERR_INVALID;
		size_t i = 0;

		if (!mp_get_str(&m, &key) || !mp_skip(&m, &value))
			return ctx_fault(r->cx, "/updates", "TYPE",
			                 "updates is not well formed.");
		while (i < COUNTOF(readers) &&
		       !str_eq(key, str_from(part_names[i])))
			i++;
		one = i < COUNTOF(readers) ? readers[i](r, value)
		                           : stranger(r->cx, key);
		if (one)
			e = one;
	}
	return e;
}

/* --- correcting ------------------------------------------------------------------------ */

static enum err keep(struct ctx *cx, const struct db_row *row, int col,
                     struct str *out)
{
	*out = (struct str){NULL, 0};
	if (db_row_null(row, col))
		return OK;
	*out = arena_str(cx->arena, db_row_str(row, col));
	return out->p ? OK : ERR_NOMEM;
}

static enum err read_profile(void *arg, const struct db_row *row)
{
	struct rectifying *r = arg;
	enum err e = keep(r->cx, row, 0, &r->email_was);

	r->found = true;
	if (!e)
		e = keep(r->cx, row, 1, &r->name_was);
	return e ? e : keep(r->cx, row, 2, &r->preferences_was);
}

static enum err store(struct db *db, const struct rectifying *r,
                      struct str email, struct str name, struct str json)
{
	char folded[EMAIL_MAX + 1];
	const struct db_val v[] = {
		DB_STR(r->cx->sub),
		email.p ? DB_STR(email) : DB_NULL,
		email.p ? DB_STR(email_fold(email, folded)) : DB_NULL,
		name.p ? DB_STR(name) : DB_NULL,
		json.p ? DB_STR(json) : DB_NULL,
	};

	return db_run(db, STMT(PROFILE_SET), v, COUNTOF(v), NULL);
}

static void answer(struct buf *b, const struct rectifying *r, struct str email,
                   struct str name, struct str preferences)
{
	size_t n = 0;

	for (size_t i = 0; i < COUNTOF(part_names); i++)
		n += (r->parts >> i) & 1;
	mp_map(b, 3);
	mp_kv_text(b, "message", "Your data is corrected.");
	mp_kv_array(b, "updated_fields", n);
	for (size_t i = 0; i < COUNTOF(part_names); i++)
		if ((r->parts >> i) & 1)
			mp_text(b, part_names[i]);
	mp_kv_map(b, "profile", 3);
	mp_kv_str(b, "email", email);
	mp_kv_str(b, "display_name", name);
	mp_text(b, "preferences");
	mp_raw(b, preferences);
}

/* Which of it, never what it is now. */
static enum err tell(struct db *db, const struct rectifying *r)
{
	struct audit_note note = {.event = AUDIT_IS(DATA_RECTIFIED),
	                          .sub = r->cx->sub,
	                          .resource_type = "profile"};

	for (size_t i = 0; i < COUNTOF(part_names); i++)
		note.data[i] = (struct audit_datum){part_names[i],
		                                    {NULL, 0},
		                                    (r->parts >> i) & 1};
	return audit_tell(r->au, db, r->cx, &note);
}

/* An idem_fn. */
static enum err rectify(struct db *db, void *arg, struct reply *out)
{
	struct rectifying *r = arg;
	const struct db_val who[] = {DB_STR(r->cx->sub)};
	const struct db_sink sink = {read_profile, r};
	AUTO_BUF was = {0}, merged = {0}, json = {0};
	struct str email, name, text;
	enum err e;

	r->found = false;
	e = db_run(db, STMT(PROFILE_LOCK), who, COUNTOF(who), &sink);
	if (!e && !r->found)
		e = ERR_NOT_FOUND;
	if (!e)
		e = preferences_from_json(r->preferences_was, &was);
	if (e)
		return e;
	email = r->parts & PART_EMAIL ? r->email : r->email_was;
	name = r->parts & PART_NAME ? r->name : r->name_was;
	text = r->preferences_was;
	if (r->parts & PART_PREFERENCES) {
		e = preferences_merge(r->cx, PREFERENCES_AT, buf_view(&was),
		                      r->preferences, &merged);
		if (!e && !mp_to_json(buf_view(&merged), &json))
			e = ERR_NOMEM;
		text = buf_view(&json);
	}
	if (!e)
		e = store(db, r, email, name, text);
	if (!e)
		e = tell(db, r);
	if (e)
		return e;
	answer(&out->body, r, email, name,
	       buf_view(r->parts & PART_PREFERENCES ? &merged : &was));
	return out->body.failed ? ERR_NOMEM : OK;
}

enum err method_auth_rectify(void *state, struct ctx *cx, const void *in,
                             struct reply *out)
{
	const struct auth_rectify_in *want = in;
	struct auth *au = state;
	struct rectifying r = {.au = au, .cx = cx, .updates = want->updates};
	enum err e = read_updates(&r);

	if (!e && r.parts & PART_EMAIL)
		e = stepup_check(au, cx, PROOFS(want));
	if (!e)
		e = idem_write(au->conf.idem, cx, rectify, &r, out);
	if (e == ERR_NOT_FOUND)
		return ERR_BAD_TOKEN; /* the person is gone */
	if (e == ERR_DB_DUPLICATE)
		return ctx_fail(cx, ERR_EXISTS,
		                "This e-mail address belongs to an account "
		                "already.");
	if (!e && !out->replayed) {
		auth_committed(au, &(struct revoke_batch){.n = 0});
		log_info(cx, "audit.profile_rectified", LOG_STR("sub", cx->sub),
		         LOG_U64("parts", r.parts));
	}
	return e;
}
