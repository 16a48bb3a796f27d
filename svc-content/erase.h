/*
 * erase - what svc-content has of a person (design D44).
 *
 * What it generates belongs to nobody: it is kept by topic, and says not for whom
 * it was made.  But a topic is what somebody typed, so what the cache has of the
 * topics of an erased person goes too, and is made anew for whoever asks next.
 */
#ifndef SVC_CONTENT_ERASE_H
#define SVC_CONTENT_ERASE_H

#include "svc-content/text.h"

#include "common/service/erase.h"

extern const struct erase_def content_erase;

/* The tag of all that is cached about a topic; key: its text_key(). */
struct str content_topic_tag(struct str key, char out[TEXT_DIGEST_MAX]);

#endif
