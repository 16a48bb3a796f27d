#include "local/privacy_doc.h"

#include "common/base/attr.h"
#include "svc-auth/columns.h"
#include "svc-content/columns.h"
#include "svc-gdpr/columns.h"

static const struct privacy_tables *const services[] = {
	&auth_columns,
	&content_columns,
	&gdpr_columns,
};

static void introduce(FILE *f)
{
	(void)fputs(
		"# Privacy: the record of processing\n\n"
		"Made from `svc-*/columns.def` and `common/privacy/` by "
		"`make docs`. It says what a record of processing activities "
		"(Art. 30 GDPR) says, for the software as it is; whoever runs "
		"a server completes it. A test reads the columns of the real "
		"databases and fails for one that is not here.\n\n"
		"## Who\n\n"
		"| | |\n|---|---|\n"
		"| Controller | *whoever runs this server: name, address, "
		"contact* |\n"
		"| Representative, data protection officer | *if there is "
		"one* |\n"
		"| People concerned | those who have an account (learners, "
		"administrators) |\n"
		"| Recipients | nobody, unless configured: the provider of a "
		"language model (prompts only), a host of the databases, of "
		"Redis, of backups, of logs and traces |\n"
		"| Transfers to third countries | none by the software; as the "
		"recipients are chosen |\n"
		"| Security measures | passwords and keys only as hashes, "
		"signing keys and kept answers sealed, TLS, tokens that can be "
		"revoked within a second, limits, no personal content in "
		"logs |\n\n"
		"People get a copy of all of it with `GET /api/user/export` "
		"(`docs/export.schema.json`), as JSON or as a page.\n",
		f);
}

static void tell_words(FILE *f)
{
	(void)fputs("\n## Purposes\n\n| name | what for |\n|---|---|\n", f);
	for (size_t i = 0; i < PURPOSE_COUNT; i++)
		(void)fprintf(f, "| %s | %s |\n", privacy_purposes[i].name,
		              privacy_purposes[i].words);
	(void)fputs("\n## Lawful bases\n\n| name | article | why |\n"
	            "|---|---|---|\n",
	            f);
	for (size_t i = 0; i < BASIS_COUNT; i++)
		(void)fprintf(f, "| %s | %s | %s |\n", privacy_bases[i].name,
		              privacy_bases[i].article, privacy_bases[i].words);
	(void)fputs("\n## Retention\n\n| category | how long |\n|---|---|\n",
	            f);
	for (size_t i = 0; i < KEPT_COUNT; i++)
		(void)fprintf(f, "| %s | %s |\n", privacy_kept[i].name,
		              privacy_kept[i].words);
	(void)fputs("\n## What erasing a person does\n\n| | |\n|---|---|\n", f);
	for (size_t i = 0; i < ERASE_NOTHING; i++)
		(void)fprintf(f, "| %s | %s |\n", privacy_erasures[i].name,
		              privacy_erasures[i].words);
}

static void tell_link(FILE *f, const struct privacy_column *c)
{
	if (c->link == PRIVACY_VIA)
		(void)fprintf(f, "of `%s`", c->via);
	else
		(void)fputs(privacy_link_name(c->link), f);
}

static void tell_table(FILE *f, const struct privacy_table *t)
{
	(void)fprintf(f, "\n### %s\n\n%s.\n", t->name, t->words);
	if (t->of == OF_NOBODY) {
		(void)fputs("\nOf nobody:", f);
		for (size_t i = 0; i < t->columns_n; i++)
			(void)fprintf(f, "%s `%s`", i ? "," : "",
			              t->columns[i].name);
		(void)fputs(".\n", f);
		return;
	}
	(void)fputs("\n| column | link | purpose | basis | kept | erasure | "
	            "in the export | |\n|---|---|---|---|---|---|---|---|\n",
	            f);
	for (size_t i = 0; i < t->columns_n; i++) {
		const struct privacy_column *c = &t->columns[i];

		(void)fprintf(f, "| `%s` | ", c->name);
		tell_link(f, c);
		(void)fprintf(f, " | %s | %s | %s | %s | %s | %s |\n",
		              privacy_purposes[c->purpose].name,
		              privacy_bases[c->basis].name,
		              privacy_kept[c->kept].name,
		              privacy_erasures[c->erase].name,
		              c->out ? "yes" : "no", c->why);
	}
}

static void tell_elsewhere(FILE *f)
{
	static const struct {
		const char *place, *what, *until;
	} elsewhere[] = {
#define ELSEWHERE(place, what, until) {place, what, until},
#include "local/elsewhere.def"
#undef ELSEWHERE
	};

	(void)fputs("\n## Elsewhere\n\n| where | what | until |\n"
	            "|---|---|---|\n",
	            f);
	for (size_t i = 0; i < COUNTOF(elsewhere); i++)
		(void)fprintf(f, "| %s | %s | %s |\n", elsewhere[i].place,
		              elsewhere[i].what, elsewhere[i].until);
}

void privacy_document(FILE *f)
{
	introduce(f);
	tell_words(f);
	for (size_t i = 0; i < COUNTOF(services); i++) {
		(void)fprintf(f, "\n## Tables of svc-%s\n",
		              services[i]->service);
		for (size_t k = 0; k < services[i]->n; k++)
			tell_table(f, &services[i]->table[k]);
	}
	tell_elsewhere(f);
}
