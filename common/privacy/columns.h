/*
 * columns - what every column of every table is to a person: the record of
 * processing as data (Art. 30 GDPR; contract 4.6.4).
 *
 * Why:     export, erasure, the scan after it and docs/privacy.md must agree on
 *          where personal data lies.  They walk these tables, and a test reads
 *          the columns of the migrated databases and fails for one that is
 *          missing here, so nobody adds a column without saying what it is.
 * Owns:    nothing: all of it is constant and lives as long as the program.
 * Threads: any.
 *
 * A service's columns.def is read several times (tables.h), with these names
 * defined differently.  Tables stand in the order in which their rows may be
 * deleted: what refers to others first.
 *
 *   TABLE(attempts, "Quizzes that were handed out")
 *   COLUMN(attempts, sub, TEXT, SUB, LEARNING, CONTRACT, USER_CONTENT, ROW, OUT, "")
 *   ROWS(attempts, SUBJECT(sub), (created_at, id))
 *
 * COLUMN(table, column, type, link, purpose, basis, kept, erase, show, why):
 *   type     TEXT INT REAL BYTES as stored, or what they mean: TIME (epoch ms),
 *            DAY (days since 1970), FLAG (0 or 1), PACKED (msgpack in bytes)
 *   link     SUB            the sub of the person whom the row is about
 *            HANDLE, EMAIL  names them
 *            VIA(table, column)  the row belongs to that row
 *            CONTENT        may hold what they wrote or what is known of them
 *            NONE           says nothing by itself
 *   purpose, basis, kept, erase   words.def
 *   show     OUT: in the export.  IN: not, for the reason in `why`
 *   why      the reason for IN and KEEP; else ""
 * ROWS(table, of, key) says whose rows they are, with $1 the sub:
 *   of       SUBJECT(column) the column is $1
 *            VIA(column, table, key)  the column is the key of a row of $1
 *            MATCH("condition")  anything else; T is the prefix of tables
 *            NOBODY
 *   key      one to three columns, unique among the rows of one person and, if
 *            there may be many, with an index: the order in which they are read
 */
#ifndef PRIVACY_COLUMNS_H
#define PRIVACY_COLUMNS_H

#include "common/db/db.h"

enum privacy_type {
	PRIVACY_TEXT,
	PRIVACY_INT,
	PRIVACY_REAL,
	PRIVACY_BYTES,
	PRIVACY_TIME,
	PRIVACY_DAY,
	PRIVACY_FLAG,
	PRIVACY_PACKED,
};
enum privacy_link {
	PRIVACY_NONE,
	PRIVACY_SUB,
	PRIVACY_HANDLE,
	PRIVACY_EMAIL,
	PRIVACY_VIA,
	PRIVACY_CONTENT,
};
enum privacy_purpose {
#define PURPOSE(id, name, words) PURPOSE_##id,
#define BASIS(id, name, article, words)
#define KEPT(id, name, days, words)
#define ERASE(id, name, words)
#include "common/privacy/words.def"
#undef PURPOSE
	PURPOSE_COUNT
};
enum privacy_basis {
#define PURPOSE(id, name, words)
#undef BASIS
#define BASIS(id, name, article, words) BASIS_##id,
#include "common/privacy/words.def"
#undef BASIS
	BASIS_COUNT
};
enum privacy_kept {
#define BASIS(id, name, article, words)
#undef KEPT
#define KEPT(id, name, days, words) KEPT_##id,
#include "common/privacy/words.def"
#undef KEPT
	KEPT_COUNT
};
enum privacy_erase {
#define KEPT(id, name, days, words)
#undef ERASE
#define ERASE(id, name, words) ERASE_##id,
#include "common/privacy/words.def"
#undef PURPOSE
#undef BASIS
#undef KEPT
#undef ERASE
	ERASE_COUNT
};
/* Of a table's rows. */
enum privacy_of { OF_NOBODY, OF_SUBJECT, OF_VIA, OF_MATCH };

struct privacy_column {
	const char *name;
	enum privacy_type type;
	enum privacy_link link;
	const char *via; /* "table.column", with PRIVACY_VIA */
	enum privacy_purpose purpose;
	enum privacy_basis basis;
	enum privacy_kept kept;
	enum privacy_erase erase;
	bool out;        /* in the export */
	const char *why; /* not, or kept; else "" */
	/* How many rows of the whole table have $1 somewhere in this column:
	 * a str for text, a blob for bytes.  Texts are NULL for numbers. */
	struct db_stmt scan;
};

#define PRIVACY_KEY_MAX 3

struct privacy_table {
	const char *name, *words;
	enum privacy_of of;
	const struct privacy_column *columns;
	size_t columns_n;
	const char *key[PRIVACY_KEY_MAX + 1]; /* ends with NULL */
	/*
	 * Of the rows of the person $1: the columns that are `out` and then
	 * those of the key, $2 rows at most, from the start and after the key
	 * $3 ...; how many there are; and away with them.
	 */
	struct db_stmt first, next, count, erase;
};

struct privacy_tables {
	const char *service; /* "auth" */
	const struct privacy_table *table;
	size_t n;
};

struct privacy_word {
	const char *name, *words;
	const char *article; /* of a basis */
	int days;            /* of a retention category */
};
extern const struct privacy_word privacy_purposes[PURPOSE_COUNT];
extern const struct privacy_word privacy_bases[BASIS_COUNT];
extern const struct privacy_word privacy_kept[KEPT_COUNT];
extern const struct privacy_word privacy_erasures[ERASE_COUNT];
const char *privacy_link_name(enum privacy_link link);

/* NULL when there is none. */
const struct privacy_table *privacy_table(const struct privacy_tables *all,
                                          struct str name);
const struct privacy_column *privacy_column(const struct privacy_table *t,
                                            struct str name);

#endif
