/*
 * topic - what a picture is about: what a language model is asked, what of its
 * answer is taken (contract 4.7), and what a file's name says where no model
 * sees pictures.
 *
 * Why:     text in a picture is data, as a typed topic is (design D39): the
 *          system message says so, the answer can only be a few words, and those
 *          are checked; nothing is believed for coming from a model.
 * Owns:    texts live in the arena.  Threads: any.
 */
#ifndef SVC_CONTENT_IMAGE_TOPIC_H
#define SVC_CONTENT_IMAGE_TOPIC_H

#include "svc-content/material.h"

#include "common/base/attr.h"

#define TOPIC_VERSION \
	"2.0" /* of the two messages; an input of the cache's key */
#define TOPIC_DAY       "2026-11-28" /* since when */
#define TOPIC_SCHEMA    "image_topic"
#define TOPIC_WORDS_MAX 10 /* more are warned of; asked for are 5 */
#define TOPIC_CHARS_MAX 200
#define TOPIC_TOKENS    100  /* that an answer may have */
#define TOPIC_ESTIMATE  2000 /* tokens, in and out (contract 4.4.7) */
#define TOPIC_NAMED     0.3  /* the score of what only a file's name says */

struct topic {
	struct str text;
	double score; /* 1, or 0.3 where there are warnings */
	struct warnings warnings;
};

struct str topic_system(void);
struct str topic_schema(void);
/* lang: one of the supported codes.  ERR_NOMEM. */
enum err topic_user(struct arena *a, struct str lang,
                    struct str *out) MUST_CHECK;

/*
 * Reads {"topic": "..."} out of what a model wrote, also in a fence.  *why NULL:
 * out is good.  Else *why says in words for the model what is wrong with it; out
 * is filled where it would do all the same (too long, a sentence), and out->text.p
 * is NULL where it is no use.  ERR_NOMEM.
 */
enum err topic_read(struct arena *a, struct str text, struct topic *out,
                    const char **why) MUST_CHECK;

/*
 * "cell-division_final (2).png" is about "Cell division", "IMG_2041.jpg" about
 * nothing: then out->text.p is NULL.  ERR_NOMEM.
 */
enum err topic_of_name(struct arena *a, struct str filename,
                       struct topic *out) MUST_CHECK;

#endif
