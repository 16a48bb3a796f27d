/*
 * facets - the sides from which a subject can be studied, and how: the answer
 * where the dictionary knows too little, and the frame where it knows enough.
 *
 * Tables: kind.def, skill.def, facets.def, asks.def.
 * Threads: any; everything is constant.
 */
#ifndef SVC_CONTENT_OFFLINE_FACETS_H
#define SVC_CONTENT_OFFLINE_FACETS_H

#include "svc-content/material.h"
#include "svc-content/offline/kind.h"

enum skill {
#define SKILL(id, ...) SKILL_##id,
#include "svc-content/offline/skill.def"
#undef SKILL
	SKILL_COUNT,
	SKILL_GENERAL = SKILL_COUNT,
};

struct skill_row {
	const char *lead[2]; /* to {x}, which is then defined */
	const char *how[2], *check;
	const char *levels[LEVEL_COUNT];
	const char *styles[STYLE_COUNT - 1]; /* STYLE_GENERAL has no tip */
};

/* What the dictionary adds to a facet of a topic that it knows. */
enum draw {
	DRAW_NONE,
	DRAW_MEANING,
	DRAW_KINDS,
	DRAW_PARTS,
	DRAW_TERMS,
	DRAW_NEAR,
};

struct facet {
	uint32_t kinds; /* bit per enum kind */
	unsigned stage, rank;
	enum skill skill;
	enum draw draw;
	const char *title, *look, *task;
};

struct ask {
	enum skill skill;
	const char *question, *right, *wrong[OPTIONS_N - 1], *why;
};

extern const struct facet facets[];
extern const size_t facets_n;
extern const struct ask asks[];
extern const size_t asks_n;

const struct skill_row *skill_row(enum skill s);
/* How many facets of the same skill come before f in a plan for k. */
size_t facet_turn(const struct facet *f, enum kind k);
static inline bool facet_suits(const struct facet *f, enum kind k)
{
	return (f->kinds >> k & 1) != 0;
}

#endif
