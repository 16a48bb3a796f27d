/*
 * tables - makes the tables of columns.h out of a columns.def.
 *
 * A service's columns.c:
 *     #define COLUMNS_DEF    "svc-auth/columns.def"
 *     #define COLUMNS_SCHEMA "auth."
 *     #include "common/privacy/tables.h"
 * gets `static const struct privacy_table tables[]`.  The statements are put
 * together here, by the compiler, out of the names in that file alone.
 */
#include "common/privacy/columns.h"

/* --- the key: (a, b) as a list, as parameters, as names -------------------- */

#define KEY_PICK(a, b, c, it, ...) it
#define KEY_LIST(...)              #__VA_ARGS__
#define KEY_AFTER(...)   \
	"(" #__VA_ARGS__ \
	") > (" KEY_PICK(__VA_ARGS__, "$3, $4, $5", "$3, $4", "$3", ) ")"
#define KEY_NAMES1(a)       #a, NULL, NULL, NULL
#define KEY_NAMES2(a, b)    #a, #b, NULL, NULL
#define KEY_NAMES3(a, b, c) #a, #b, #c, NULL
#define KEY_NAMES(...)                                              \
	KEY_PICK(__VA_ARGS__, KEY_NAMES3, KEY_NAMES2, KEY_NAMES1, ) \
	(__VA_ARGS__)

/* --- the columns ------------------------------------------------------------ */

#define LINK_NONE      PRIVACY_NONE, NULL
#define LINK_SUB       PRIVACY_SUB, NULL
#define LINK_HANDLE    PRIVACY_HANDLE, NULL
#define LINK_EMAIL     PRIVACY_EMAIL, NULL
#define LINK_CONTENT   PRIVACY_CONTENT, NULL
#define LINK_VIA(t, c) PRIVACY_VIA, #t "." #c

#define SHOW_OUT true
#define SHOW_IN  false

#define SCAN_NUMBER(t, c) NULL, NULL
#define SCAN_CHARS(t, c)                                                      \
	"SELECT COUNT(*) FROM " #t " WHERE instr(" #c ", $1) > 0",            \
		"SELECT COUNT(*) FROM " COLUMNS_SCHEMA #t " WHERE strpos(" #c \
		", $1) > 0"
#define SCAN_OCTETS(t, c)                                          \
	"SELECT COUNT(*) FROM " #t " WHERE instr(" #c ", $1) > 0", \
		"SELECT COUNT(*) FROM " COLUMNS_SCHEMA #t          \
		" WHERE position($1::bytea IN " #c ") > 0"
#define SCAN_TEXT   SCAN_CHARS
#define SCAN_BYTES  SCAN_OCTETS
#define SCAN_PACKED SCAN_OCTETS
#define SCAN_INT    SCAN_NUMBER
#define SCAN_REAL   SCAN_NUMBER
#define SCAN_TIME   SCAN_NUMBER
#define SCAN_DAY    SCAN_NUMBER
#define SCAN_FLAG   SCAN_NUMBER

#define TABLE(id, words) static const struct privacy_column columns_##id[] = {
#define COLUMN(t, c, type, link, purpose, basis, kept, erase, show, why) \
	{#c,                                                             \
	 PRIVACY_##type,                                                 \
	 LINK_##link,                                                    \
	 PURPOSE_##purpose,                                              \
	 BASIS_##basis,                                                  \
	 KEPT_##kept,                                                    \
	 ERASE_##erase,                                                  \
	 SHOW_##show,                                                    \
	 why,                                                            \
	 {"privacy.scan." #t "." #c, SCAN_##type(t, c)}},
#define ROWS(id, of, key) \
	}                 \
	;
#include COLUMNS_DEF
#undef TABLE
#undef COLUMN
#undef ROWS

/* --- their statements, once for each driver ---------------------------------- */

#define SUBJECT(c)    #c " = $1"
#define VIA(c, t, k)  #c " IN (SELECT " #k " FROM " T #t " WHERE sub = $1)"
#define MATCH(text)   text
#define NOBODY        "$1 = ''"
#define SELECT_OUT(c) #c ", "
#define SELECT_IN(c)  ""

#define COLUMN(t, c, type, link, purpose, basis, kept, erase, show, why) \
	SELECT_##show(c)

#define T                ""
#define TABLE(id, words) static const char sqlite_first_##id[] = "SELECT "
#define ROWS(id, of, key)                                                    \
	KEY_LIST key " FROM " T #id " WHERE (" of ") ORDER BY " KEY_LIST key \
		     " LIMIT $2";
#include COLUMNS_DEF
#undef TABLE
#undef ROWS
#define TABLE(id, words) static const char sqlite_next_##id[] = "SELECT "
#define ROWS(id, of, key)                                                \
	KEY_LIST key " FROM " T #id " WHERE (" of ") AND " KEY_AFTER key \
		     " ORDER BY " KEY_LIST key " LIMIT $2";              \
	static const char sqlite_count_##id[] =                          \
		"SELECT COUNT(*) FROM " T #id " WHERE " of;              \
	static const char sqlite_erase_##id[] =                          \
		"DELETE FROM " T #id " WHERE " of;
#include COLUMNS_DEF
#undef TABLE
#undef ROWS
#undef T

#define T                COLUMNS_SCHEMA
#define TABLE(id, words) static const char postgres_first_##id[] = "SELECT "
#define ROWS(id, of, key)                                                    \
	KEY_LIST key " FROM " T #id " WHERE (" of ") ORDER BY " KEY_LIST key \
		     " LIMIT $2";
#include COLUMNS_DEF
#undef TABLE
#undef ROWS
#define TABLE(id, words) static const char postgres_next_##id[] = "SELECT "
#define ROWS(id, of, key)                                                \
	KEY_LIST key " FROM " T #id " WHERE (" of ") AND " KEY_AFTER key \
		     " ORDER BY " KEY_LIST key " LIMIT $2";              \
	static const char postgres_count_##id[] =                        \
		"SELECT COUNT(*) FROM " T #id " WHERE " of;              \
	static const char postgres_erase_##id[] =                        \
		"DELETE FROM " T #id " WHERE " of;
#include COLUMNS_DEF
#undef TABLE
#undef ROWS
#undef T
#undef COLUMN
#undef SUBJECT
#undef VIA
#undef MATCH
#undef NOBODY

/* --- the tables --------------------------------------------------------------- */

#define SUBJECT(c)   OF_SUBJECT
#define VIA(c, t, k) OF_VIA
#define MATCH(text)  OF_MATCH
#define NOBODY       OF_NOBODY
#define TABLE(id, words) \
	{                \
#id, words,
#define COLUMN(t, c, type, link, purpose, basis, kept, erase, show, why)
#define ROWS(id, of, key)                                                    \
	of, columns_##id, COUNTOF(columns_##id), {KEY_NAMES key},            \
		{"privacy.first." #id, sqlite_first_##id,                    \
	         postgres_first_##id},                                       \
		{"privacy.next." #id, sqlite_next_##id, postgres_next_##id}, \
		{"privacy.count." #id, sqlite_count_##id,                    \
	         postgres_count_##id},                                       \
		{"privacy.erase." #id, sqlite_erase_##id,                    \
	         postgres_erase_##id},                                       \
	}                                                                    \
	,
static const struct privacy_table tables[] = {
#include COLUMNS_DEF
};
#undef TABLE
#undef COLUMN
#undef ROWS
