/*
 * consent - who has agreed to analytics, as svc-gdpr, which keeps the ledger,
 * tells it: event "consent.analytics" {given, hnd, at}.
 *
 * Nothing is kept of a person without a row here; whoever agreed before this
 * service was told has to say so again.  Whoever takes it back loses the row and
 * all events of theirs in the same transaction.
 *
 * Inside a transaction function of common/db.
 */
#ifndef SVC_CONTENT_SITE_CONSENT_H
#define SVC_CONTENT_SITE_CONSENT_H

#include "common/event/event.h"

enum err site_consent_is(struct db *db, struct str sub, bool *out) MUST_CHECK;
enum err site_consent_apply(struct db *db, const struct event *ev) MUST_CHECK;
/* A handle as it is kept: in lower case.  out takes SITE_HANDLE_MAX bytes. */
#define SITE_HANDLE_MAX 65
struct str site_handle(struct str hnd, char out[SITE_HANDLE_MAX]);

#endif
