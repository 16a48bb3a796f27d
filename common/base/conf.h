/*
 * conf - settings as one table: parsed, checked, printed and documented from
 * conf.def.
 *
 * A setting comes from its environment variable, or from the file that
 * NAME_FILE names (SECRET and LIVE ones; one trailing newline is dropped; the
 * variable wins when both are set).  All faults are reported at once, one line
 * each.
 *
 * Owns:    a struct settings owns its texts until conf_fini().
 * Threads: read-only after conf_load().
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include "common/base/attr.h"
#include "common/base/str.h"

#include <stdio.h>

enum env { ENV_DEVELOPMENT, ENV_TESTING, ENV_STAGING, ENV_PRODUCTION };

/* Which programs read a setting; knowalledge reads all. */
enum conf_who {
	FOR_GATEWAY = 1,
	FOR_AUTH = 2,
	FOR_CONTENT = 4,
	FOR_GDPR = 8,
	FOR_SERVICES = 14,
	FOR_ALL = 15,
};

#define CONF_C_U64  uint64_t
#define CONF_C_BOOL bool
#define CONF_C_TEXT struct str

struct settings {
	enum env env; /* from ENVIRONMENT */
#define SETTING(who, flags, type, name, field, fallback, min, max, help) \
	CONF_C_##type field;
#include "common/base/conf.def"
#undef SETTING
};

/*
 * Fills *out from the environment for the programs in who.  Every fault is a
 * line on complaints; false when there was one.  Environment names of the old
 * system and near misses of ours are told as `config.ignored` log lines.
 */
bool conf_load(struct settings *out, unsigned who, FILE *complaints) MUST_CHECK;
/* The same once more, for what has changed in files; says nothing of names that
 * are not ours. */
bool conf_reload(struct settings *out, unsigned who,
                 FILE *complaints) MUST_CHECK;
void conf_fini(struct settings *s);
/* NAME=value lines; secrets as ***. */
void conf_print(const struct settings *s, unsigned who, FILE *f);
/* For --help: name, default and meaning of each. */
void conf_help(unsigned who, FILE *f);
/* docs/config.md. */
void conf_document(FILE *f);
/* docs/migrating-settings.md. */
void conf_document_gone(FILE *f);
/* .env.example: every name, each behind a #. */
void conf_env_example(FILE *f);
const char *env_name(enum env e);

#endif
