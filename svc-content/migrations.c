#include "svc-content/migrations.h"

#include "common/event/event.h"
#include "common/service/idempotency.h"
#include "svc-content/site/tables.h"
#include "svc-content/social/tables.h"

/* t: the schema's prefix; tree: rows stored in their key. */
#define TABLES(t, tree)                                                           \
	/* The latest presentation of each topic; digest tells a repeat. */       \
	"CREATE TABLE " t "presentations (sub TEXT NOT NULL, "                    \
	"topic_key TEXT NOT NULL, topic TEXT NOT NULL, "                          \
	"digest TEXT NOT NULL, at BIGINT NOT NULL, "                              \
	"PRIMARY KEY (sub, topic_key))" tree ";"                                  \
	"CREATE TABLE " t "presentation_subtopics (sub TEXT NOT NULL, "           \
	"topic_key TEXT NOT NULL, subtopic_key TEXT NOT NULL, "                   \
	"PRIMARY KEY (sub, topic_key, subtopic_key))" tree                        \
	";" /* Quizzes that were handed out; score is NULL until submitted. */    \
	"CREATE TABLE " t "attempts (id TEXT PRIMARY KEY, "                       \
	"sub TEXT NOT NULL, topic_key TEXT NOT NULL, topic TEXT NOT NULL, "       \
	"subtopic_key TEXT NOT NULL, subtopic TEXT NOT NULL, "                    \
	"total BIGINT NOT NULL CHECK (total > 0), created_at BIGINT NOT NULL,"    \
	" score BIGINT CHECK (score >= 0 AND score <= total), "                   \
	"submitted_at BIGINT);"                                                   \
	"CREATE INDEX attempts_sub ON " t "attempts (sub, created_at);"           \
	"CREATE TABLE " t "questions (attempt_id TEXT NOT NULL "                  \
	"REFERENCES " t "attempts (id) ON DELETE CASCADE, "                       \
	"id TEXT NOT NULL, correct TEXT NOT NULL, "                               \
	"correct_index BIGINT NOT NULL, PRIMARY KEY (attempt_id, id))" tree       \
	";" /* Every submitted quiz; body is NULL where an attempt was graded. */ \
	"CREATE TABLE " t "results (id TEXT PRIMARY KEY, "                        \
	"sub TEXT NOT NULL, topic_key TEXT NOT NULL, "                            \
	"subtopic_key TEXT NOT NULL, attempt_id TEXT, body TEXT, "                \
	"score BIGINT NOT NULL, total BIGINT NOT NULL, "                          \
	"difficulty TEXT NOT NULL, earns BIGINT NOT NULL, "                       \
	"at BIGINT NOT NULL, CHECK (score >= 0 AND score <= total));"             \
	"CREATE INDEX results_sub ON " t "results (sub, at);"                     \
	"CREATE INDEX results_body ON " t "results (sub, body, at) "              \
	"WHERE body IS NOT NULL;"                                                 \
	"CREATE TABLE " t "mastery (sub TEXT NOT NULL, "                          \
	"topic_key TEXT NOT NULL, subtopic_key TEXT NOT NULL, "                   \
	"topic TEXT NOT NULL, subtopic TEXT NOT NULL, "                           \
	"level BIGINT NOT NULL CHECK (level BETWEEN 1 AND 3), "                   \
	"at BIGINT NOT NULL, "                                                    \
	"PRIMARY KEY (sub, topic_key, subtopic_key))" tree                        \
	";" /* A row says that this subtopic has earned on that UTC day. */       \
	"CREATE TABLE " t "earned (sub TEXT NOT NULL, "                           \
	"topic_key TEXT NOT NULL, subtopic_key TEXT NOT NULL, "                   \
	"day BIGINT NOT NULL, "                                                   \
	"PRIMARY KEY (sub, topic_key, subtopic_key, day))" tree ";"               \
	"CREATE TABLE " t "finished (sub TEXT NOT NULL, "                         \
	"topic_key TEXT NOT NULL, at BIGINT NOT NULL, "                           \
	"PRIMARY KEY (sub, topic_key))" tree ";"

/* Whose data is kept and not used, since when. */
#define RESTRICTED(t)                                             \
	"CREATE TABLE " t "restricted (sub TEXT PRIMARY KEY, "    \
	"at BIGINT NOT NULL);"                                    \
	"CREATE INDEX attempts_at ON " t "attempts (created_at) " \
	"WHERE submitted_at IS NULL;"                             \
	"CREATE INDEX earned_day ON " t "earned (day);"

/* quota_people: whose limits hold, and which level of which day and month was
 * told of; model_usage: per person, day, route and "provider/model"; costs in
 * micro-dollars. */
#define QUOTAS(t, tree)                                                         \
	"CREATE TABLE " t "quota_people (sub TEXT PRIMARY KEY, "                \
	"handle TEXT NOT NULL, tier TEXT NOT NULL, "                            \
	"day BIGINT NOT NULL DEFAULT 0, day_level BIGINT NOT NULL DEFAULT 0, "  \
	"month BIGINT NOT NULL DEFAULT 0, "                                     \
	"month_level BIGINT NOT NULL DEFAULT 0, at BIGINT NOT NULL);"           \
	"CREATE INDEX quota_people_handle ON " t "quota_people "                \
	"(lower(handle));"                                                      \
	"CREATE INDEX quota_people_at ON " t "quota_people (at);"               \
	"CREATE TABLE " t "quota_holds (id TEXT PRIMARY KEY, "                  \
	"sub TEXT NOT NULL, day BIGINT NOT NULL, "                              \
	"tokens BIGINT NOT NULL CHECK (tokens >= 0), until BIGINT NOT NULL);"   \
	"CREATE INDEX quota_holds_sub ON " t "quota_holds (sub, until);"        \
	"CREATE INDEX quota_holds_until ON " t "quota_holds (until);"           \
	"CREATE TABLE " t "model_usage (sub TEXT NOT NULL, "                    \
	"day BIGINT NOT NULL, route TEXT NOT NULL, "                            \
	"model TEXT NOT NULL, requests BIGINT NOT NULL CHECK (requests >= 0), " \
	"calls BIGINT NOT NULL CHECK (calls >= 0), "                            \
	"tokens_in BIGINT NOT NULL CHECK (tokens_in >= 0), "                    \
	"tokens_out BIGINT NOT NULL CHECK (tokens_out >= 0), "                  \
	"cost BIGINT NOT NULL CHECK (cost >= 0), at BIGINT NOT NULL, "          \
	"PRIMARY KEY (sub, day, route, model))" tree ";"                        \
	"CREATE INDEX model_usage_day ON " t "model_usage (day);"

/* Generations that are asked for as events (jobs/store.h); state: 0 runs, 1 is
 * done, 2 has failed; place: of an item, else -1. */
#define JOBS(t, bytes)                                                        \
	"CREATE TABLE " t "jobs (id TEXT PRIMARY KEY, sub TEXT NOT NULL, "    \
	"method TEXT NOT NULL, digest TEXT NOT NULL, "                        \
	"request " bytes " NOT NULL, lang TEXT NOT NULL, "                    \
	"state BIGINT NOT NULL, seq BIGINT NOT NULL, run BIGINT NOT NULL, "   \
	"lease BIGINT NOT NULL, expires BIGINT NOT NULL, "                    \
	"created_at BIGINT NOT NULL, ended_at BIGINT, outcome " bytes ");"    \
	"CREATE UNIQUE INDEX jobs_running ON " t "jobs (sub, digest) "        \
	"WHERE state = 0;"                                                    \
	"CREATE INDEX jobs_of ON " t "jobs (sub, created_at, id);"            \
	"CREATE INDEX jobs_expire ON " t "jobs (expires);"                    \
	"CREATE TABLE " t "job_events (job_id TEXT NOT NULL "                 \
	"REFERENCES " t "jobs (id) ON DELETE CASCADE, seq BIGINT NOT NULL, "  \
	"type TEXT NOT NULL, place BIGINT NOT NULL, data " bytes " NOT NULL," \
	" PRIMARY KEY (job_id, seq));"

const struct db_migration content_migrations[CONTENT_MIGRATIONS] = {
	{1, "tables", TABLES("", " WITHOUT ROWID") EVENT_TABLES_SQLITE,
         TABLES("content.", "") EVENT_TABLES_POSTGRES("content")},
	{2, "answers kept for an Idempotency-Key", IDEM_TABLE_SQLITE,
         IDEM_TABLE_POSTGRES("content")},
	{3, "the trace of an event", EVENT_TRACE_SQLITE,
         EVENT_TRACE_POSTGRES("content")},
	{4, "restriction of processing", RESTRICTED(""),
         RESTRICTED("content.")},
	{5, "who has been erased", ERASED_TABLE_SQLITE,
         ERASED_TABLE_POSTGRES("content")},
	{6, "quotas, and what was used of language models",
         QUOTAS("", " WITHOUT ROWID"), QUOTAS("content.", "")},
	{7, "likes, ratings, visits", SOCIAL_SQLITE, SOCIAL_POSTGRES},
	{8, "events of the web analytics", SITE_SQLITE, SITE_POSTGRES},
	{9, "generations as events", JOBS("", "BLOB"),
         JOBS("content.", "bytea")},
};
