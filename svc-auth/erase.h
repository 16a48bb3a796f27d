/*
 * erase - svc-auth's part of an erasure, which is its beginning (design D44).
 *
 * auth.erase {sub, at, password?, api_key?, code?}, from svc-gdpr, asks who it
 * is (stepup.h) and then, in one transaction,
 *
 *     the tombstone                nothing of this sub comes back
 *     all rows of the person       keys, account: no login works any more
 *     the handle, as a keyed hash  nobody else can take it
 *     the revocation               gateways refuse the tokens that are out
 *     the order, as an event       svc-gdpr goes on also when it dies now
 *
 * {receipt_id, at, hnd, email} is the answer; again of one who is erased, it has
 * the receipt of the first time and neither hnd nor email, which nobody knows.
 *
 * The order is an event user.erased {receipt, sub, hnd, email, at} of a subject
 * of its own: events of the person go with the person.  It names them until
 * svc-gdpr has taken it, and "service.erase" of svc-auth then takes what is left.
 *
 * An e-mail address is not kept from being used again: who can read its mail is
 * who it belongs to, and a person who comes back must be able to; a hash of it
 * would go on answering whether they have been here.
 */
#ifndef SVC_AUTH_ERASE_H
#define SVC_AUTH_ERASE_H

#include "common/service/erase.h"

extern const struct erase_def auth_erase;

#endif
