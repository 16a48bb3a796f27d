/*
 * social - who likes, rates and shares a graph, and how often (contract 2.2.6).
 *
 * A graph is named by graph_id() of its topic and is known from the first
 * reaction on; another has zeros.  Likes, ratings and shares count people and
 * visitors, each once, and are always the sums of the rows (tables.h).  Views
 * count lookers once a day.
 *
 * Everything here runs inside a transaction function of common/db.
 */
#ifndef SVC_CONTENT_SOCIAL_SOCIAL_H
#define SVC_CONTENT_SOCIAL_SOCIAL_H

#include "common/db/db.h"

#define GRAPH_ID 17 /* hex with its NUL */

struct str graph_id(struct str topic, char out[GRAPH_ID]);
/* Whether it can be one: 16 lower-case hex digits. */
bool graph_id_valid(struct str id);

/* Who reacts: a person or a visitor, the other text empty. */
struct reactor {
	struct str sub, visitor;
};

enum reaction { REACTION_LIKE, REACTION_RATING, REACTION_SHARE };
struct reacting {
	struct str graph;
	struct reactor who;
	enum reaction what;
	int64_t value; /* like, share: 0 or 1; rating: hundredths, 0 none */
	int64_t now_ms;
};
/* The same again changes nothing. */
enum err social_react(struct db *db, const struct reacting *r) MUST_CHECK;
/* A person has reacted; what the visitor of their browser said of the same graph
 * is theirs too and would count twice. */
enum err social_yield(struct db *db, struct str graph,
                      struct str visitor) MUST_CHECK;
/* who: a hash of day.h. */
enum err social_view(struct db *db, struct str graph, int64_t day,
                     struct str who) MUST_CHECK;

struct graph_sums {
	int64_t likes, ratings, rating_sum, shares, views;
};
enum err social_sums(struct db *db, struct str graph,
                     struct graph_sums *out) MUST_CHECK;
/* Zeros where there is none. */
struct own_reaction {
	bool liked;
	int64_t rating; /* hundredths; 0: none */
};
enum err social_own(struct db *db, struct str graph, const struct reactor *who,
                    struct own_reaction *out) MUST_CHECK;

/* Average rating with two decimals; 0 without. */
double social_average(const struct graph_sums *s);

#endif
