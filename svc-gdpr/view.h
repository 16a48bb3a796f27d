/*
 * view - what clients see: packs people, achievements and places into the maps
 * of contract 2.3.3.
 */
#ifndef SVC_GDPR_VIEW_H
#define SVC_GDPR_VIEW_H

#include "common/base/buf.h"
#include "svc-gdpr/board.h"

/* Each packs one map.  handle is shown where the person has none stored. */
void view_progress(struct buf *b, const struct person *p, struct str handle,
                   int64_t now_ms);
void view_place(struct buf *b, const struct board_row *row);
/* unlocked_at 0: as the catalogue has it, without unlocked_at and progress. */
void view_achievement(struct buf *b, enum achievement which,
                      int64_t unlocked_at);

/* The value of gdpr.stats; place NULL: not ranked. */
void view_stats(struct buf *b, const struct person *p, struct str handle,
                const struct board_row *place, int64_t now_ms);

/* The unlocked ones, the latest first; returns how many. */
size_t view_latest(const struct tally *t,
                   enum achievement out[ACHIEVEMENT_COUNT]);

#endif
