/*
 * plan - names of subtopics: how a facet or a related thing is called in an
 * outline, and what such a name meant when it comes back.
 *
 * Threads: any.
 */
#ifndef SVC_CONTENT_OFFLINE_PLAN_H
#define SVC_CONTENT_OFFLINE_PLAN_H

#include "svc-content/offline/relate.h"
#include "svc-content/offline/subject.h"

/* "History of calculus"; "... this topic" where the name is too long. */
enum err plan_facet_title(struct arena *a, const struct facet *f,
                          const struct subject *s, struct str *out) MUST_CHECK;
/* "Differential calculus"; "Section (music)" for a later meaning.  An empty
 * *out: it cannot be named well. */
enum err plan_related_title(struct arena *a, const struct related *r,
                            const struct subject *s,
                            struct str *out) MUST_CHECK;
/* The facet that has this title, or NULL. */
enum err plan_facet_of(struct arena *a, const struct subject *s,
                       struct str title, const struct facet **out) MUST_CHECK;
/*
 * What the title of a subtopic means inside the topic: *out->known only when
 * the dictionary has it and it belongs there.
 */
enum err plan_subtopic(const struct wordnet *wn, struct arena *a,
                       const struct subject *topic, struct str title,
                       struct subject *out) MUST_CHECK;

#endif
