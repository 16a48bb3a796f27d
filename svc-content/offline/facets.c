#include "svc-content/offline/facets.h"

/* The kinds as bits, by the names that facets.def uses. */
enum {
#define KIND(id, words, use1, use2) id = 1 << KIND_##id,
#include "svc-content/offline/kind.def"
#undef KIND
	ALL = (1 << KIND_COUNT) - 1,
	/* What one can learn to do. */
	LEARN = FIELD | MATH | CODE | TECH | LANGUAGE | ACTIVITY | ART,
	/* What is found, not made. */
	NATURE = LIVING | BODY | HEALTH | SUBSTANCE | OBJECT | PROCESS |
	         PHENOMENON,
};

const struct facet facets[] = {
#define FACET(kinds, stage, rank, skill, draw, title, look, task) \
	{kinds, stage, rank, SKILL_##skill, DRAW_##draw, title, look, task},
#include "svc-content/offline/facets.def"
#undef FACET
};
const size_t facets_n = COUNTOF(facets);

const struct ask asks[] = {
#define ASK(skill, question, right, w1, w2, w3, why) \
	{SKILL_##skill, question, right, {w1, w2, w3}, why},
#include "svc-content/offline/asks.def"
#undef ASK
};
const size_t asks_n = COUNTOF(asks);

static const struct skill_row skills[SKILL_COUNT] = {
#define SKILL(id, lead1, lead2, how1, how2, check, junior, school, undergrad, \
              visual, auditory, kinesthetic, reading)                         \
	{{lead1, lead2},                                                      \
	 {how1, how2},                                                        \
	 check,                                                               \
	 {junior, school, undergrad},                                         \
	 {visual, auditory, kinesthetic, reading}},
#include "svc-content/offline/skill.def"
#undef SKILL
};

const struct skill_row *skill_row(enum skill s)
{
	return &skills[s];
}

size_t facet_turn(const struct facet *f, enum kind k)
{
	size_t n = 0;

	for (size_t i = 0; i < facets_n; i++) {
		const struct facet *o = &facets[i];

		n += o->skill == f->skill && facet_suits(o, k) &&
		     (o->rank > f->rank || (o->rank == f->rank && o < f));
	}
	return n;
}
