/*
 * tables - those of site/ (a migration of svc-content).
 *
 * An event keeps what a row of site/fields.def names and nothing else that the
 * browser sent.  sub is '' for whoever is not known, session what day.h makes of
 * the browser's own id.
 *
 * Inside svc-content only.
 */
#ifndef SVC_CONTENT_SITE_TABLES_H
#define SVC_CONTENT_SITE_TABLES_H

#define SITE_TABLES(t)                                                          \
	"CREATE TABLE " t "site_events (id TEXT PRIMARY KEY, "                  \
	"at BIGINT NOT NULL, type TEXT NOT NULL, sub TEXT NOT NULL, "           \
	"session TEXT NOT NULL, name TEXT, message TEXT, "                      \
	"duration_ms DOUBLE PRECISION, fcp_ms DOUBLE PRECISION, "               \
	"lcp_ms DOUBLE PRECISION, ttfb_ms DOUBLE PRECISION, "                   \
	"status BIGINT, rating BIGINT, failed BIGINT NOT NULL, "                \
	"device TEXT NOT NULL, browser TEXT NOT NULL);"                         \
	"CREATE INDEX site_events_at ON " t "site_events (at);"                 \
	"CREATE INDEX site_events_type ON " t "site_events (type, at);"         \
	"CREATE INDEX site_events_sub ON " t "site_events (sub, at) "           \
	"WHERE sub <> '';" /* Who has agreed to analytics, under which name. */ \
	"CREATE TABLE " t "site_consent (sub TEXT PRIMARY KEY, "                \
	"hnd TEXT NOT NULL, at BIGINT NOT NULL);"                               \
	"CREATE INDEX site_consent_hnd ON " t "site_consent (hnd);"

#define SITE_SQLITE   SITE_TABLES("")
#define SITE_POSTGRES SITE_TABLES("content.")

#endif
