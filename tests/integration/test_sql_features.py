"""The SQL a user writes, feature by feature: a plain context and the engine give the same answer.

A readable companion of `tests/sqllogic`. Each query runs on a plain `datafusion.SessionContext` and
through the engine, over the same Arrow tables; columns, types and rows must agree (in order where
the query asks for one) and the engine must have run it natively, but for what `FALLS_BACK` lists.
What the engine answers otherwise, and why, is in `test_query_cases.py` and `docs/correctness.md`.
"""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datafusion import SessionConfig, SessionContext

from tests.sqllogic import compare

if TYPE_CHECKING:
    import fusiondelta

pytestmark = pytest.mark.integration

PARTITIONS = 4
UTC = dt.timezone.utc

TABLES: dict[str, pa.Table] = {
    "emp": pa.table(
        {
            "id": pa.array([1, 2, 3, 4, 5, 6, 7], pa.int64()),
            "name": ["Ada", "Bo", "Cy", "Dot", "Eve", "Fay", None],
            "dept_id": pa.array([10, 10, 20, 20, 30, None, 99], pa.int32()),
            "boss": pa.array([None, 1, 1, 3, 3, 5, 5], pa.int64()),
            "salary": pa.array(
                [Decimal(x) for x in ("900.50", "700.00", "700.00", "650.25")]
                + [None, Decimal("0.01"), Decimal("-12.34")],
                pa.decimal128(10, 2),
            ),
        }
    ),
    "dept": pa.table(
        {
            "dept_id": pa.array([10, 20, 30, 40], pa.int32()),
            "title": ["Sales", "Lab", "Office", "Empty"],
            "budget": [1000.5, 2000.0, None, 0.0],
        }
    ),
    "sale": pa.table(
        {
            "dept_id": pa.array([10, 10, 20, 20, 20, 30, None], pa.int32()),
            "region": ["north", "south", "north", "north", None, "south", "south"],
            "day": [dt.date(2024, 2, d) for d in (27, 28, 29)]
            + [dt.date(2024, 3, d) for d in (1, 1, 2)]
            + [None],
            "amount": pa.array([5, 7, 11, 13, 17, 19, None], pa.int64()),
        }
    ),
    "event": pa.table(
        {
            "id": [1, 2, 3],
            "local": pa.array(
                [dt.datetime(2024, 3, 31, 1, 59, 59), dt.datetime(1969, 7, 20, 20, 17), None],
                pa.timestamp("us"),
            ),
            "instant": pa.array(
                [
                    dt.datetime(2024, 3, 31, 0, 59, 59, tzinfo=UTC),
                    dt.datetime(2024, 10, 27, 1, 30, tzinfo=UTC),
                    None,
                ],
                pa.timestamp("us", "UTC"),
            ),
            "nanos": pa.array([1, 1_700_000_000_123_456_789, None], pa.timestamp("ns")),
        }
    ),
    "nested": pa.table(
        {
            "id": [1, 2, 3, 4],
            "tags": pa.array([["a", "b"], [], None, ["c", None]], pa.list_(pa.string())),
            "attrs": pa.array(
                [[("x", 1), ("y", 2)], [], None, [("x", None)]], pa.map_(pa.string(), pa.int64())
            ),
            "point": pa.array(
                [
                    {"x": 1.5, "y": {"z": 1}},
                    {"x": None, "y": None},
                    None,
                    {"x": 0.0, "y": {"z": 4}},
                ],
                pa.struct([("x", pa.float64()), ("y", pa.struct([("z", pa.int32())]))]),
            ),
        }
    ),
}

QUERIES: dict[str, list[str]] = {
    "inner join": [
        "select e.name, d.title from emp e join dept d on e.dept_id = d.dept_id order by e.id",
        "select e.name, b.name from emp e join emp b on e.boss = b.id and b.salary > e.salary",
        "select d.title, sum(s.amount) from dept d, sale s where d.dept_id = s.dept_id group by 1",
        "select e.id, d.dept_id from emp e join dept d on e.dept_id < d.dept_id and e.id > 2",
        "select a.id, b.id from emp a join emp b on a.name is not distinct from b.name",
    ],
    "outer join": [
        "select e.id, d.title from emp e left join dept d on e.dept_id = d.dept_id",
        "select e.id, d.title from emp e right join dept d on e.dept_id = d.dept_id",
        "select e.id, d.title from emp e full join dept d on e.dept_id = d.dept_id",
        "select e.id, d.title from emp e left join dept d "
        "on e.dept_id = d.dept_id and d.budget > 1500 where e.id < 5",
        "select d.title from dept d full join emp e on d.dept_id = e.dept_id where e.id is null",
        "select coalesce(e.dept_id, d.dept_id) k, count(*) from emp e full join dept d "
        "on e.dept_id = d.dept_id group by 1 order by 1 nulls first",
    ],
    "semi and anti join": [
        "select id from emp e left semi join dept d on e.dept_id = d.dept_id",
        "select id from emp e left anti join dept d on e.dept_id = d.dept_id",
        "select title from emp e right semi join dept d on e.dept_id = d.dept_id",
        "select title from emp e right anti join dept d on e.dept_id = d.dept_id",
        "select title from dept where dept_id in (select dept_id from emp)",
        "select title from dept where dept_id not in (select dept_id from emp)",
        "select title from dept where dept_id not in "
        "(select dept_id from emp where dept_id is not null)",
    ],
    "cross, using and natural join": [
        "select e.id, d.title from emp e cross join dept d where e.id < 3",
        "select count(*) from emp, dept, sale",
        "select dept_id, name, title from emp join dept using (dept_id)",
        "select name, title from emp natural join dept",
        "select name, title from emp natural left join dept order by name nulls last",
    ],
    "lateral": [
        "select d.title, m.best from dept d, "
        "lateral (select max(e.salary) best from emp e where e.dept_id = d.dept_id) m",
        "select d.title, m.n from dept d left join "
        "lateral (select count(*) n from emp e where e.dept_id = d.dept_id) m on true",
        "select d.title, m.total from dept d cross join "
        "lateral (select sum(amount) total from sale s where s.dept_id = d.dept_id) m",
        "select d.title, e.name from dept d join "
        "lateral (select name from emp where emp.dept_id = d.dept_id) e on true",
    ],
    "set operations": [
        "select dept_id from emp union select dept_id from dept",
        "select dept_id from emp union all select dept_id from dept",
        "select dept_id from emp intersect select dept_id from dept",
        "select dept_id from emp except select dept_id from dept",
        "select id, name from emp union all by name select 'x' as name, 0 as id",
        "(select id from emp order by id desc limit 2) union all (select 0) order by id",
    ],
    "aggregates": [
        "select count(*), count(name), count(distinct dept_id), sum(id), avg(id) from emp",
        "select dept_id, min(name), max(salary) from emp group by dept_id having count(*) > 1",
        "select region, sum(amount) filter (where amount > 10) from sale group by region",
        "select dept_id, array_agg(id order by id desc) from emp group by dept_id",
        "select string_agg(title, '/' order by title) from dept",
        "select first_value(name order by id desc), nth_value(name, 2 order by id) from emp",
        "select stddev(amount), var_pop(amount), corr(amount, dept_id), median(amount) from sale",
        "select bool_and(id > 0), bool_or(id > 6), bit_xor(id) from emp where 1 = 0",
        "select approx_distinct(region), "
        "approx_percentile_cont(0.5) within group (order by amount) from sale",
    ],
    "grouping sets": [
        "select dept_id, region, sum(amount) from sale group by rollup (dept_id, region)",
        "select dept_id, region, sum(amount) from sale group by cube (dept_id, region)",
        "select dept_id, region, count(*) from sale "
        "group by grouping sets ((dept_id), (region), ())",
        "select dept_id, grouping(dept_id), sum(amount) from sale group by rollup (dept_id)",
        "select region, day, grouping(region, day) g, sum(amount) from sale "
        "group by cube (region, day) order by g, region, day",
    ],
    "windows": [
        "select id, row_number() over (order by salary desc, id) from emp order by id",
        "select id, rank() over w, dense_rank() over w, percent_rank() over w, cume_dist() over w "
        "from emp window w as (partition by dept_id order by salary)",
        "select id, lag(name) over (order by id), lead(name, 2, '-') over (order by id) from emp",
        "select day, sum(amount) over (order by day rows between 1 preceding and 1 following) "
        "from sale where day is not null and dept_id is not null and day < '2024-03-01'",
        "select day, amount, sum(amount) over "
        "(order by day range between interval '1 day' preceding and current row) from sale",
        "select id, ntile(3) over (order by id), first_value(name) over (order by id), "
        "last_value(name) over (order by id), nth_value(name, 2) over (order by id) from emp",
        "select id, dept_id from emp "
        "qualify row_number() over (partition by dept_id order by id) = 1",
        "select id, count(*) over (order by dept_id groups between 1 preceding and current row) "
        "from emp",
    ],
    "common table expressions": [
        "with rich as (select * from emp where salary > 600) select name from rich order by name",
        "with a as (select 1 x), b as (select x + 1 x from a) "
        "select * from a union all select * from b",
        "with t(k, n) as (select dept_id, count(*) from emp group by 1) "
        "select l.k, r.n from t l join t r on l.k = r.k",
        "select (with m as (select max(id) i from emp) select i from m)",
    ],
    "recursive common table expressions": [
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 10) "
        "select * from n",
        "with recursive chain as (select id, boss, 0 depth from emp where boss is null union all "
        "select e.id, e.boss, depth + 1 from emp e join chain c on e.boss = c.id) "
        "select depth, count(*) from chain group by depth order by depth",
        "with recursive f(a, b) as (select 0, 1 union all select b, a + b from f where b < 50) "
        "select max(a) from f",
        "with recursive s(i) as (select 1 union select i % 3 + 1 from s) "
        "select i from s order by i",
    ],
    "subqueries": [
        "select name from emp e where salary = "
        "(select max(salary) from emp i where i.dept_id = e.dept_id)",
        "select title, (select count(*) from emp e where e.dept_id = d.dept_id) n from dept d",
        "select title from dept d where exists (select 1 from emp e where e.dept_id = d.dept_id)",
        "select title from dept d where not exists "
        "(select 1 from emp e where e.dept_id = d.dept_id and e.salary > 650)",
        "select name from emp where salary > (select avg(salary) from emp)",
        "select id from emp where id in (select max(id) from emp group by dept_id)",
        "select title from dept d where budget > "
        "(select sum(amount) from sale s where s.dept_id = d.dept_id) or title = 'Empty'",
        "select t.k from (select dept_id k, sum(amount) a from sale group by 1) t where t.a > 15",
    ],
    "unnest": [
        "select unnest([1, 2, null])",
        "select id, unnest(tags) tag from nested",
        "select id, count(tag) from (select id, unnest(tags) tag from nested) group by id",
        "select unnest(point) from nested where id in (1, 4)",
        "select * from unnest([1, 2], ['a', 'b', 'c']) as u(n, s)",
        "select * from unnest(range(1, 10, 4)) as r(i) order by i",
    ],
    "lists": [
        "select id, tags[1], array_length(tags), array_has(tags, 'b') from nested",
        "select array_sort([3, 1, null, 2]), array_distinct([1, 1, 2]), [1, 2] || [3]",
        "select array_slice([1, 2, 3, 4], 2, 3), array_to_string(['a', 'b'], '-')",
        "select make_array(), make_array(null), array_agg(id) from emp where id < 0",
        "select array_position(['x', 'y'], 'y'), array_remove([1, 2, 1], 1), flatten([[1], [2]])",
    ],
    "structs": [
        "select point.x, point.y.z from nested where id <> 3",
        "select point['x'], get_field(point, 'y') from nested",
        "select struct(1, 'a'), named_struct('k', 1, 'v', [1.5]), {a: 1, b: {c: 'x'}}",
        "select id from nested where point.x is null",
        "select point, count(*) from nested group by point",
    ],
    "maps": [
        "select id, attrs['x'] from nested",
        "select map_keys(attrs), map_values(attrs), cardinality(attrs) from nested where id < 3",
        "select map {'a': 1, 'b': 2}, map(['k'], [10]), map_extract(map {'a': 1}, 'a')",
        "select map_entries(map {'a': 1}), make_map('x', 1.5, 'y', null)",
    ],
    "decimals": [
        "select salary * 2, salary / 3, salary + 0.005, -salary, salary % 7 from emp",
        "select sum(salary), avg(salary), min(salary), max(salary) from emp",
        "select cast(1.005 as decimal(5, 2)), cast('123.456' as decimal(10, 1)), 1e3, 0.1 + 0.2",
        "select arrow_typeof(salary * salary), round(salary, 1), ceil(salary) from emp",
        "select cast(9.99 as decimal(38, 30)), cast(12345678901234567890.5 as decimal(40, 5))",
    ],
    "timestamps and zones": [
        "select local, instant, nanos from event order by id",
        "select date_trunc('month', local), date_part('doy', instant), extract(epoch from nanos) "
        "from event",
        "select instant at time zone 'Europe/Berlin', local at time zone 'Asia/Kolkata' from event",
        "select to_timestamp('2024-02-29T12:00:00Z'), to_timestamp_millis(1700000000000), "
        "from_unixtime(0)",
        "select date_bin(interval '15 minutes', instant) from event",
        "select to_char(local, '%Y-%m-%d %H'), make_date(2024, 2, 29) from event",
        "select local < instant, local = timestamp '1969-07-20 20:17:00' from event",
    ],
    "intervals": [
        "select interval '1 month 2 days 3 hours', interval '1' year",
        "select local + interval '1 month', local - interval '90 minutes' from event",
        "select day, day + interval '1 month', day - date '2024-01-01' from sale",
        "select timestamp '2024-03-01' - timestamp '2024-02-01', -interval '1 day'",
        "select date '2024-01-31' + interval '1 month'",
    ],
    "limit and offset": [
        "select id from emp order by id limit 2",
        "select id from emp order by id desc limit 2 offset 3",
        "select id from emp order by id offset 5",
        "select id from emp limit 0",
        "select count(*) from (select id from emp limit 3)",
        "select id, salary from emp order by salary desc nulls last, id limit 3",
        "select distinct on (dept_id) dept_id, id from emp order by dept_id, id",
    ],
    "values": [
        "values (1, 'a'), (2, null)",
        "select * from (values (1, 1.5), (2, 2)) v(i, x) order by i",
        "select sum(column1) from (values (1), (2), (null))",
        "select e.name from emp e join (values (1), (3)) k(id) on e.id = k.id",
    ],
    "table functions": [
        "select * from generate_series(1, 5) order by 1",
        "select count(*), sum(value) from range(0, 100000)",
        "select r.value, e.name from range(1, 4) r join emp e on e.id = r.value",
    ],
    "expressions": [
        "select case when salary > 800 then 'high' when salary > 0 then 'low' end from emp",
        "select name like 'A%', name ilike '%E', name similar to '(Bo|Cy)', name ~ '^D' from emp",
        "select nullif(name, 'Bo'), coalesce(name, '?'), id between 2 and 3, id in (1, 7) from emp",
        "select upper(name), substr(name, 2), concat_ws('-', name, id), char_length(name) from emp",
        "select try_cast('x' as int), cast('7' as smallint), 7 / 2, 7 % 3, 2 << 3, null is unknown",
        "select md5('a'), encode('abc', 'hex'), x'00ff', regexp_replace('aab', 'a+', 'x')",
    ],
    "information_schema": [
        "select column_name, data_type, is_nullable from information_schema.columns "
        "where table_name = 'emp' order by ordinal_position",
        "select table_name, table_type from information_schema.tables "
        "where table_name in ('emp', 'dept') order by 1",
        "select value from information_schema.df_settings "
        "where name = 'datafusion.execution.target_partitions'",
        "show datafusion.execution.target_partitions",
        "select c.table_name, count(*) from information_schema.columns c "
        "join information_schema.tables t on c.table_name = t.table_name "
        "where c.table_name in ('emp', 'sale') group by 1",
    ],
    "explain": [
        "explain select * from emp",
        "explain verbose select count(*) from emp",
        "explain format tree select e.id from emp e join dept d on e.dept_id = d.dept_id",
        "explain analyze select dept_id, count(*) from emp group by 1",
    ],
}  # fmt: skip

CASES = [
    pytest.param(sql, id=f"{group}-{n}")
    for group, queries in QUERIES.items()
    for n, sql in enumerate(queries, 1)
]
IN_ORDER = re.compile(r"\border by\b[^()]*$")


@pytest.fixture(scope="module")
def plain() -> SessionContext:
    config = SessionConfig().with_information_schema(True).with_target_partitions(PARTITIONS)
    ctx = SessionContext(config)
    for name, table in TABLES.items():
        # Through a file, so that fields of NULL structs are NULL (apache/datafusion#25120).
        file = io.BytesIO()
        pq.write_table(table, file, store_schema=True)
        ctx.register_record_batches(name, [pq.read_table(file).to_batches()])
    return ctx


@pytest.fixture(scope="module")
def engine() -> Iterator[fusiondelta.FusionDeltaEngine]:
    import fusiondelta

    profile = fusiondelta.EngineProfile(target_partitions=PARTITIONS, string_views=True)
    with fusiondelta.FusionDeltaEngine(profile=profile) as engine:
        yield engine


@pytest.mark.parametrize("sql", CASES)
def test_same_answer(
    sql: str, plain: SessionContext, engine: fusiondelta.FusionDeltaEngine
) -> None:
    frame = plain.sql(sql)
    batches = frame.collect()
    want = pa.Table.from_batches(batches, batches[0].schema if batches else frame.schema())

    with engine.query(sql, sources=TABLES) as result:
        schema = result.schema
        got = result.to_table()

    assert got.schema == schema
    assert compare.same_columns(want.schema, got.schema)
    if sql.startswith("explain"):  # the text depends on where the plan was made
        assert got.num_rows > 0
    elif IN_ORDER.search(sql):
        assert compare.rows(got) == compare.rows(want)
    else:
        assert compare.bag(got) == compare.bag(want)


@pytest.mark.parametrize("kind", ["scalar", "aggregate", "window"])
def test_every_function_of_a_plain_context_is_there_natively(kind: str) -> None:
    from fusiondelta import _native

    ctx = SessionContext()
    listed = {"scalar": ctx.udfs, "aggregate": ctx.udafs, "window": ctx.udwfs}[kind]()
    native = _native.function_names()[kind]
    assert native == sorted(native)
    assert set(listed) - set(native) == set()
    assert len(listed) > 5
