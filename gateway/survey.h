/*
 * survey - one question put to every replica of some services, for the routes
 * of administrators.
 *
 * Why:     each replica has figures, a cache and a breaker of its own.  Asked
 *          as one of many, a replica chosen by load would answer for all.
 * Bounds:  SURVEY_MAX replicas, SURVEY_MS for all of them together.
 * Trust:   of an answer only the numbers of survey.def and two flags are kept,
 *          never a word.
 * Owns:    itself lies in the request's arena; what is under way ends with
 *          survey_stop().
 * Threads: the loop's own.
 *
 * Inside the gateway only.
 */
#ifndef GATEWAY_SURVEY_H
#define GATEWAY_SURVEY_H

#include "common/base/ctx.h"
#include "common/bus/bus.h"

#define SURVEY_MAX 64
#define SURVEY_MS  2000

enum survey_number {
#define NUMBER(name, figure) SURVEY_##name,
#include "gateway/survey.def"
#undef NUMBER
	SURVEY_NUMBERS
};
/* As the services call it. */
const char *survey_figure(enum survey_number n);

struct survey;

struct survey_replica {
	struct survey *survey;
	struct bus_replica bus; /* as it was before it was asked */
	bool asked;             /* false: it is not connected */
	uint64_t call;          /* 0: ended */
	enum err err;           /* why there is no answer; OK */
	bool cached, shared;    /* of "service.control" */
	double numbers[SURVEY_NUMBERS];
};

struct survey {
	struct bus_client *bus;
	size_t n, open;
	void (*done)(void *arg);
	void *arg;
	struct survey_replica replicas[];
};

struct survey_ask {
	struct bus_client *bus;
	struct ctx *cx;  /* who asks; its arena holds the survey */
	unsigned peers;  /* bits: 1 << PEER_AUTH ... */
	const char *op;  /* "service.stats" */
	struct str body; /* msgpack of a map, or empty */
	/* When all have answered or cannot any more: from bus_client_turn(). */
	void (*done)(void *arg);
	void *arg;
};

/*
 * Asks.  (*out)->open == 0: nobody could be asked, done() will not be called.
 * ERR_NOMEM.
 */
enum err survey_start(const struct survey_ask *ask,
                      struct survey **out) MUST_CHECK;
/* done() will not be called any more.  NULL is fine. */
void survey_stop(struct survey *s);

#endif
