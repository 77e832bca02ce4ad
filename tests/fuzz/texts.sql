SELECT i + 1, u * 2, x / 3, m % 2, -h, s || 'x', b, d - DATE '2024-01-01' FROM t WHERE i > 0
SELECT s, count(*), sum(i), avg(x), min(m), max(d), array_agg(l) FROM t GROUP BY s HAVING count(*) > 0
SELECT i, row_number() OVER (PARTITION BY f ORDER BY x DESC NULLS FIRST) FROM t QUALIFY i > 1
SELECT sum(x) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t
SELECT * FROM t a LEFT JOIN t b ON a.i = b.i AND a.s < b.s WHERE a.x IS NOT NULL ORDER BY 1
SELECT * FROM t a JOIN t b USING (i) WHERE EXISTS (SELECT 1 FROM t c WHERE c.u = a.u)
SELECT i FROM t WHERE s IN (SELECT s FROM t WHERE x > (SELECT avg(x) FROM t)) LIMIT 3 OFFSET 1
WITH RECURSIVE n AS (SELECT 1 k UNION ALL SELECT k + 1 FROM n WHERE k < 5) SELECT * FROM n
SELECT CASE WHEN f THEN s WHEN i > 2 THEN 'y' ELSE NULL END, coalesce(x, 0), nullif(i, 1) FROM t
SELECT date_trunc('month', t), extract(year FROM d), t + INTERVAL '1 day', to_char(z, '%Y') FROM t
SELECT unnest(l), r['a'], r.a, l[1], array_length(l), map(['k'], [i]) FROM t
SELECT i FROM t UNION SELECT u FROM t EXCEPT SELECT 1 INTERSECT ALL SELECT i FROM t
SELECT s, f, sum(i) FROM t GROUP BY GROUPING SETS ((s, f), (s), ()) ORDER BY grouping(s), 1
SELECT s LIKE 'a%' ESCAPE '\', s ~ '^a', regexp_replace(s, '(a)', '\1x', 'g'), substr(s, -1, 2) FROM t
SELECT CAST(s AS INT), TRY_CAST(s AS DATE), i::decimal(10, 2), arrow_cast(x, 'Float16') FROM t
SELECT DISTINCT ON (s) s, i FROM t ORDER BY s, i; 
SELECT * EXCLUDE (i, u) FROM t, LATERAL (SELECT t.x * 2 AS xx) q WHERE xx <> 3
EXPLAIN ANALYZE SELECT count(DISTINCT s) FROM t
SELECT corr(x, i), stddev(x), approx_distinct(s), median(x), string_agg(s, ',') FROM t
SELECT x IS DISTINCT FROM 1 AND NOT f OR s BETWEEN 'a' AND 'b' FROM t WINDOW w AS (ORDER BY i)
SHOW TABLES
SELECT lag(i, 1, 0) OVER w, ntile(2) OVER w, first_value(s) IGNORE NULLS OVER w FROM t WINDOW w AS (ORDER BY i)
