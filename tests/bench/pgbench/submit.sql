-- The statements of one quiz that is handed in: svc-content's transaction, then
-- svc-gdpr's of the event.  Neither the first of its day nor the last of its topic.
-- Up to each "-- wait" the product sends together what it asks; raw.py makes of
-- this file also the script that does so (\startpipeline).
-- What changes on the leaderboard is appended, and one event in sixteen counts it
-- (svc-gdpr/board.h): old and new are keys of 190 XP more, where learners have few
-- sums of XP and meet, as those of submit.c do.
-- each: learners of a client; now: epoch milliseconds; day: days since the epoch.
\set l :client_id * :each + random(0, :each - 1)
\set n random(1, 1000000000000)
\set since :now - 30000
\set minute 67108863 - :now / 60000
\set xp 190 * random(1, 10)
\set old :xp * 67108864 + :minute
\set new (:xp + 190) * 67108864 + :minute
\set fold random(1, 16)
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT set_config('statement_timeout', '10000', true), set_config('idle_in_transaction_session_timeout', '15000', true);
SELECT i FROM content.erased_among('["' || md5('learner-' || :l) || '"]') AS i;
-- wait
SELECT pg_advisory_xact_lock(hashtextextended('content', :n));
SELECT COUNT(*) FROM content.restricted WHERE sub = 'learner-' || :l;
SELECT score, total, earns FROM content.results WHERE sub = 'learner-' || :l AND body = 'body-' || :n AND at > :since ORDER BY at DESC LIMIT 1;
-- wait
INSERT INTO content.earned (sub, topic_key, subtopic_key, day) VALUES ('learner-' || :l, 'graphs', 'p' || :n, :day) ON CONFLICT (sub, topic_key, subtopic_key, day) DO NOTHING;
-- wait
INSERT INTO content.results (id, sub, topic_key, subtopic_key, attempt_id, body, score, total, difficulty, earns, at) VALUES (gen_random_uuid()::text, 'learner-' || :l, 'graphs', 'p' || :n, NULL, 'body-' || :n, 9, 10, 'medium', 1, :now);
INSERT INTO content.mastery (sub, topic_key, subtopic_key, topic, subtopic, level, at) VALUES ('learner-' || :l, 'graphs', 'p' || :n, 'graphs', 'p' || :n, 3, :now) ON CONFLICT (sub, topic_key, subtopic_key) DO UPDATE SET topic = excluded.topic, subtopic = excluded.subtopic, level = excluded.level, at = excluded.at;
INSERT INTO content.outbox_seq AS s (target, sub, seq) VALUES ('gdpr', 'learner-' || :l, 1) ON CONFLICT (target, sub) DO UPDATE SET seq = s.seq + 1;
INSERT INTO content.outbox (id, target, sub, seq, shard, type, body, at, tp) SELECT gen_random_uuid()::text, 'gdpr', 'learner-' || :l, s.seq, 3, 'quiz.submitted', decode(repeat('81', 150), 'hex'), :now, '' FROM content.outbox_seq AS s WHERE s.target = 'gdpr' AND s.sub = 'learner-' || :l;
SELECT COUNT(*), COUNT(m.level) FROM content.presentation_subtopics p LEFT JOIN content.mastery m ON m.sub = p.sub AND m.topic_key = p.topic_key AND m.subtopic_key = p.subtopic_key AND m.level >= 2 WHERE p.sub = 'learner-' || :l AND p.topic_key = 'graphs';
-- wait
COMMIT;
-- wait
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT set_config('statement_timeout', '10000', true), set_config('idle_in_transaction_session_timeout', '15000', true);
SELECT i FROM gdpr.erased_among('["' || md5('learner-' || :l) || '"]') AS i;
-- wait
UPDATE gdpr.inbox SET seq = seq + 1 WHERE source = 'content' AND sub = 'learner-' || :l;
-- wait
SELECT handle, total_xp, xp_at, rank_key, topics, quizzes, quizzes_paid, achievements, streak_last, streak_days, longest, active_at, created_at, updated_at, restricted_at FROM gdpr.person WHERE sub = 'learner-' || :l FOR UPDATE;
-- wait
SELECT achievement, at FROM gdpr.unlocked WHERE sub = 'learner-' || :l;
SELECT last_day, days FROM gdpr.streak_run WHERE sub = 'learner-' || :l AND last_day >= :day - 1 AND last_day - days <= :day ORDER BY last_day LIMIT 2;
INSERT INTO gdpr.ledger (cause, sub, kind, xp, at) VALUES (gen_random_uuid()::text, 'learner-' || :l, 'quiz', 190, :now) ON CONFLICT (cause) DO NOTHING;
-- wait
INSERT INTO gdpr.rank_move (old_key, new_key) VALUES (:old, :new);
UPDATE gdpr.person SET total_xp = total_xp + 190, xp_at = :now, quizzes = quizzes + 1, quizzes_paid = quizzes_paid + 1, active_at = :now, updated_at = :now WHERE sub = 'learner-' || :l;
-- wait
\if :fold = 1
UPDATE gdpr.rank_move SET taken = 1 WHERE (SELECT pg_try_advisory_xact_lock(hashtextextended('gdpr.rank_move', 0)));
INSERT INTO gdpr.rank_bucket (level, bucket, people) SELECT l.column1, k >> l.column2, CAST(SUM(n) AS BIGINT) FROM (SELECT new_key AS k, 1 AS n FROM gdpr.rank_move WHERE taken = 1 UNION ALL SELECT old_key, -1 FROM gdpr.rank_move WHERE taken = 1) AS m CROSS JOIN (VALUES (0, 35), (1, 26), (2, 11), (3, 0)) AS l WHERE k >= 0 GROUP BY 1, 2 HAVING SUM(n) <> 0 ON CONFLICT (level, bucket) DO UPDATE SET people = rank_bucket.people + excluded.people;
DELETE FROM gdpr.rank_bucket WHERE people = 0 AND (level, bucket) IN (SELECT l.column1, old_key >> l.column2 FROM gdpr.rank_move CROSS JOIN (VALUES (0, 35), (1, 26), (2, 11), (3, 0)) AS l WHERE taken = 1 AND old_key >= 0);
DELETE FROM gdpr.rank_move WHERE taken = 1;
\endif
COMMIT;
