#include "common/base/conf.h"

#include "common/base/file.h"
#include "common/base/log.h"

#include <errno.h>
#include <stdlib.h>

extern char **environ;

enum type { TYPE_U64, TYPE_BOOL, TYPE_TEXT };
enum flags { FLAG_PLAIN, FLAG_SECRET, FLAG_LIVE };

#define VALUE_FILE_MAX 4096

/* Default of a BOOL that helps who develops: true there, false elsewhere. */
#define IN_DEVELOPMENT STR("in development")
/* Default of FORCE_HTTPS: where a request can be known to have come so. */
#define WITH_HTTPS STR("with SSL_CERTFILE or TRUSTED_PROXIES")

static const struct row {
	unsigned who;
	enum flags flags;
	enum type type;
	const char *name;
	size_t offset;
	const char *fallback;
	uint64_t min, max;
	const char *help;
} rows[] = {
#define SETTING(who, flags, type, name, field, fallback, min, max, help) \
	{who,                                                            \
	 FLAG_##flags,                                                   \
	 TYPE_##type,                                                    \
	 name,                                                           \
	 offsetof(struct settings, field),                               \
	 fallback,                                                       \
	 min,                                                            \
	 max,                                                            \
	 help},
#include "common/base/conf.def"
#undef SETTING
};

/* Of the old system. */
static const struct {
	const char *name, *successor;
} gone[] = {
#define GONE(name, successor) {name, successor},
#include "common/base/conf_gone.def"
#undef GONE
};

static const char *const env_names[] = {
	[ENV_DEVELOPMENT] = "development",
	[ENV_TESTING] = "testing",
	[ENV_STAGING] = "staging",
	[ENV_PRODUCTION] = "production",
};

const char *env_name(enum env e)
{
	return env_names[e];
}

static void *slot(struct settings *s, const struct row *r)
{
	return (char *)s + r->offset;
}

static bool parse_bool(struct str v, bool *out)
{
	static const char *const yes[] = {"true", "1", "yes", "on"};
	static const char *const no[] = {"false", "0", "no", "off"};

	for (size_t i = 0; i < COUNTOF(yes); i++) {
		if (str_ieq(v, str_from(yes[i])) ||
		    str_ieq(v, str_from(no[i]))) {
			*out = str_ieq(v, str_from(yes[i]));
			return true;
		}
	}
	return false;
}

static bool set_text(struct settings *s, const struct row *r, struct str v)
{
	char *copy = malloc(v.n + 1);

	if (!copy)
		return false;
	if (v.n)
		memcpy(copy, v.p, v.n);
	copy[v.n] = '\0';
	*(struct str *)slot(s, r) = (struct str){copy, v.n};
	return true;
}

/* Complains and returns false when v is not what the row allows. */
static bool set(struct settings *s, const struct row *r, struct str v,
                FILE *complaints)
{
	int64_t n = 0;

	switch (r->type) {
	case TYPE_U64:
		if (!str_to_i64(v, &n) || n < 0 || (uint64_t)n < r->min ||
		    (uint64_t)n > r->max) {
			(void)fprintf(complaints,
			              "%s: must be a whole number from %llu to "
			              "%llu\n",
			              r->name, (unsigned long long)r->min,
			              (unsigned long long)r->max);
			return false;
		}
		*(uint64_t *)slot(s, r) = (uint64_t)n;
		return true;
	case TYPE_BOOL:
		if (str_eq(v, IN_DEVELOPMENT)) {
			*(bool *)slot(s, r) =
				str_eq(s->environment, STR("development"));
			return true;
		}
		if (str_eq(v, WITH_HTTPS)) {
			*(bool *)slot(s, r) = s->ssl_certfile.n > 0 ||
			                      s->trusted_proxies.n > 0;
			return true;
		}
		if (parse_bool(v, slot(s, r)))
			return true;
		(void)fprintf(complaints, "%s: must be true or false\n",
		              r->name);
		return false;
	case TYPE_TEXT:
		if (v.n >= r->min && v.n <= r->max && set_text(s, r, v))
			return true;
		(void)fprintf(complaints,
		              "%s: must have %llu to %llu characters\n",
		              r->name, (unsigned long long)r->min,
		              (unsigned long long)r->max);
		return false;
	}
	return false;
}

/* The text of NAME_FILE without its last newline; false when unreadable. */
static bool read_value(const char *path, struct buf *out)
{
	if (!file_read(path, VALUE_FILE_MAX, out))
		return false;
	if (out->n && out->p[out->n - 1] == '\n')
		out->n--;
	if (out->n && out->p[out->n - 1] == '\r')
		out->n--;
	return true;
}

static bool load_row(struct settings *s, const struct row *r, FILE *complaints)
{
	AUTO_BUF value = {0};
	const char *v = getenv(r->name);
	char file_name[64];
	const char *path;
	bool ok;

	if (v || r->flags == FLAG_PLAIN)
		return set(s, r, str_from(v ? v : r->fallback), complaints);
	(void)snprintf(file_name, sizeof(file_name), "%s_FILE", r->name);
	path = getenv(file_name);
	if (!path)
		return set(s, r, str_from(r->fallback), complaints);
	ok = read_value(path, &value);
	if (!ok)
		(void)fprintf(complaints, "%s: cannot read %s: %s\n", file_name,
		              path, strerror(errno));
	else
		ok = set(s, r, buf_view(&value), complaints);
	if (value.p)
		explicit_bzero(value.p, value.cap);
	return ok;
}

static void tell_gone(void)
{
	for (size_t i = 0; i < COUNTOF(gone); i++)
		if (getenv(gone[i].name))
			log_warn(NULL, "config.ignored",
			         LOG_TEXT("name", gone[i].name),
			         LOG_TEXT("successor", gone[i].successor));
}

/* At most one character inserted, dropped or changed between a and b. */
static bool near(struct str a, struct str b)
{
	size_t i = 0, j = 0;

	if (a.n > b.n)
		return near(b, a);
	if (b.n - a.n > 1 || str_eq(a, b))
		return false;
	while (i < a.n && a.p[i] == b.p[i])
		i++;
	while (j < a.n - i && a.p[a.n - 1 - j] == b.p[b.n - 1 - j])
		j++;
	return a.n - i - j <= 1;
}

static bool is_known(struct str name)
{
	for (size_t i = 0; i < COUNTOF(rows); i++)
		if (str_eq(name, str_from(rows[i].name)))
			return true;
	return false;
}

static void tell_misspelt(void)
{
	/* Near SSL_CERTFILE, and OpenSSL's own. */
	const struct str authorities = STR("SSL_CERT_FILE");

	for (char **e = environ; e && *e; e++) {
		struct str rest = str_from(*e);
		struct str name = str_cut(&rest, '=');
		const char *meant = NULL;

		/* LLM_MODEL is near LLM2_MODEL, and both are meant. */
		if (str_eq(name, authorities) || is_known(name))
			continue;
		for (size_t i = 0; i < COUNTOF(rows) && !meant; i++)
			if (strlen(rows[i].name) > 5 &&
			    near(name, str_from(rows[i].name)))
				meant = rows[i].name;
		if (meant)
			log_warn(NULL, "config.ignored", LOG_STR("name", name),
			         LOG_TEXT("meant", meant));
	}
}

/* The floor of ASVS 5.0, appendix C, for argon2id with one pass. */
#define HASH_FLOOR_MB 46

static bool check_hash(const struct settings *s, FILE *complaints)
{
	bool low = s->password_hash_memory_mb < HASH_FLOOR_MB &&
	           s->env != ENV_TESTING;
	bool wide = s->password_hash_memory_mb > s->password_hash_total_mb;

	if (low)
		(void)fprintf(complaints,
		              "PASSWORD_HASH_MEMORY_MB: must be at least %d, "
		              "unless ENVIRONMENT is testing\n",
		              HASH_FLOOR_MB);
	if (wide)
		(void)fprintf(complaints,
		              "PASSWORD_HASH_TOTAL_MB: must be at least "
		              "PASSWORD_HASH_MEMORY_MB\n");
	return !low && !wide;
}

bool conf_reload(struct settings *out, unsigned who, FILE *complaints)
{
	bool ok = true, known = false;
	enum log_level level;

	*out = (struct settings){.env = ENV_PRODUCTION};
	for (size_t i = 0; i < COUNTOF(rows); i++) {
		if (rows[i].who & who)
			ok &= load_row(out, &rows[i], complaints);
		else
			ok &= set(out, &rows[i], str_from(rows[i].fallback),
			          complaints);
	}
	for (size_t i = 0; i < COUNTOF(env_names); i++) {
		if (str_eq(out->environment, str_from(env_names[i]))) {
			out->env = (enum env)i;
			known = true;
		}
	}
	if (!known)
		(void)fprintf(complaints, "ENVIRONMENT: must be development, "
		                          "testing, staging or production\n");
	if (out->log_level.n && !log_level_from_str(out->log_level, &level)) {
		(void)fprintf(complaints,
		              "LOG_LEVEL: must be error, warn, info or "
		              "debug\n");
		ok = false;
	}
	if (who & FOR_AUTH)
		ok &= check_hash(out, complaints);
	return ok && known;
}

bool conf_load(struct settings *out, unsigned who, FILE *complaints)
{
	if (!conf_reload(out, who, complaints))
		return false;
	tell_gone();
	tell_misspelt();
	return true;
}

void conf_fini(struct settings *s)
{
	for (size_t i = 0; i < COUNTOF(rows); i++) {
		struct str *t = slot(s, &rows[i]);

		if (rows[i].type != TYPE_TEXT || !t->p)
			continue;
		if (rows[i].flags == FLAG_SECRET)
			explicit_bzero((void *)(uintptr_t)t->p, t->n);
		free((void *)(uintptr_t)t->p);
		*t = (struct str){NULL, 0};
	}
}

static void print_value(const struct settings *s, const struct row *r, FILE *f)
{
	const char *at = (const char *)s + r->offset;
	const struct str *t = (const void *)at;

	switch (r->type) {
	case TYPE_U64:
		(void)fprintf(f, "%llu",
		              (unsigned long long)*(
				      const uint64_t *)(const void *)at);
		break;
	case TYPE_BOOL:
		(void)fprintf(f, "%s", *(const bool *)at ? "true" : "false");
		break;
	case TYPE_TEXT:
		if (r->flags == FLAG_SECRET)
			(void)fprintf(f, "%s", t->n ? "***" : "");
		else
			(void)fprintf(f, "%.*s", STR_FMT(*t));
		break;
	}
}

void conf_print(const struct settings *s, unsigned who, FILE *f)
{
	for (size_t i = 0; i < COUNTOF(rows); i++) {
		if (!(rows[i].who & who))
			continue;
		(void)fprintf(f, "%s=", rows[i].name);
		print_value(s, &rows[i], f);
		(void)fputc('\n', f);
	}
}

void conf_help(unsigned who, FILE *f)
{
	for (size_t i = 0; i < COUNTOF(rows); i++)
		if (rows[i].who & who)
			(void)fprintf(f, "  %s=%s\n      %s\n", rows[i].name,
			              rows[i].fallback, rows[i].help);
}

void conf_document_gone(FILE *f)
{
	(void)fputs(
		"# Settings of the old system\n\n"
		"Generated from `common/base/conf_gone.def`; `make docs` "
		"writes it again. A program that finds one of\nthese says "
		"so at start (`config.ignored`). What is not here is called "
		"as before\n([config.md](config.md)).\n\n"
		"| name | successor |\n|---|---|\n",
		f);
	for (size_t i = 0; i < COUNTOF(gone); i++)
		(void)fprintf(f, "| `%s` | %s |\n", gone[i].name,
		              gone[i].successor);
}

void conf_document(FILE *f)
{
	static const char *const marks[] = {[FLAG_PLAIN] = "",
	                                    [FLAG_SECRET] = " (secret)",
	                                    [FLAG_LIVE] = " (live)"};
	static const struct {
		unsigned who;
		const char *name;
	} programs[] = {{FOR_GATEWAY, "gateway"},
	                {FOR_AUTH, "auth"},
	                {FOR_CONTENT, "content"},
	                {FOR_GDPR, "gdpr"}};

	(void)fputs(
		"# Settings\n\n"
		"Generated from `common/base/conf.def`; `make docs` writes "
		"it again.\n\n"
		"Every setting is an environment variable. A setting marked "
		"secret or live can also be given\nas `NAME_FILE`, the path of "
		"a file that holds it; the variable wins when both are set.\n"
		"On SIGHUP the file of a live one is read again, and so are "
		"the files that `SSL_CERTFILE` and\n`SSL_KEYFILE` name; where "
		"anything in them is wrong, what was in force stays.\n"
		"`knowalledge` reads all of them. Wrong values are all told "
		"at once, and the program exits with 2.\n\n"
		"| name | default | range | read by | meaning |\n"
		"|---|---|---|---|---|\n",
		f);
	for (size_t i = 0; i < COUNTOF(rows); i++) {
		const struct row *r = &rows[i];
		const char *sep = "";

		(void)fprintf(f, "| `%s`%s | %s%s%s | ", r->name,
		              marks[r->flags], *r->fallback ? "`" : "",
		              r->fallback, *r->fallback ? "`" : "");
		if (r->type == TYPE_BOOL)
			(void)fputs("true, false", f);
		else
			(void)fprintf(f, "%llu–%llu%s",
			              (unsigned long long)r->min,
			              (unsigned long long)r->max,
			              r->type == TYPE_TEXT ? " characters"
			                                   : "");
		(void)fputs(" | ", f);
		if (r->who == FOR_ALL)
			(void)fputs("all", f);
		else
			for (size_t k = 0; k < COUNTOF(programs); k++)
				if (r->who & programs[k].who) {
					(void)fprintf(f, "%s%s", sep,
					              programs[k].name);
					sep = ", ";
				}
		(void)fprintf(f, " | %s |\n", r->help);
	}
}

/* A default that is words and no value. */
static bool is_words(const struct row *r)
{
	struct str fallback = str_from(r->fallback);

	return str_eq(fallback, IN_DEVELOPMENT) || str_eq(fallback, WITH_HTTPS);
}

void conf_env_example(FILE *f)
{
	(void)fputs(
		"# Every setting, with its default. Generated from\n"
		"# common/base/conf.def; `make docs` writes it again.\n"
		"#\n"
		"#     cp .env.example .env\n"
		"#     docker build -t knowalledge-api .\n"
		"#     docker run -p 5000:5000 --env-file .env knowalledge-api\n"
		"#\n"
		"# starts as it is, in production: what is behind a # keeps "
		"its default. The images\n"
		"# set ENVIRONMENT=production, BIND=0.0.0.0, "
		"ADMIN_BIND=0.0.0.0 and DATA_DIR=/data;\n"
		"# in that of `knowalledge` KEY_ENCRYPTION_KEY is made in "
		"DATA_DIR on the first start\n"
		"# where none is given, and so is the administrator's key. "
		"Both are lost with the\n"
		"# volume: keep it (`-v knowalledge:/data`). Front ends on "
		"other origins need\n"
		"# CORS_ORIGINS; programs that run apart over tcp:// need "
		"BUS_KEY.\n"
		"#\n"
		"# Values stand as they are: docker takes quotes for part of "
		"them.\n",
		f);
	for (size_t i = 0; i < COUNTOF(rows); i++) {
		const struct row *r = &rows[i];

		(void)fprintf(f, "\n# %s\n", r->help);
		if (is_words(r))
			(void)fprintf(f, "# true %s unless set.\n#%s=\n",
			              r->fallback, r->name);
		else
			(void)fprintf(f, "#%s=%s\n", r->name, r->fallback);
		if (r->flags != FLAG_PLAIN)
			(void)fprintf(f, "#%s_FILE=\n", r->name);
	}
}
