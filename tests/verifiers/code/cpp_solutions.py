"""C++20 solutions, right and wrong, written by hand: (name, source, tests, status, why)."""

STD = '#include <bits/stdc++.h>\nusing namespace std;\n'


def main(body, before=''):
  return f'{STD}{before}\nint main() {{\n{body}\n}}\n'


def _tests(*pairs):
  return dict(tests=[dict(stdin=stdin, stdout=stdout) for stdin, stdout in pairs])


SUM = _tests(('3\n1 2 3\n', '6\n'), ('1\n-5\n', '-5\n'), ('0\n\n', '0'),
             ('2\n2000000000 2000000000\n', '4000000000'))
SORT = _tests(('3\n3 1 2\n', '1 2 3'), ('4\n5 5 -1 0\n', '-1 0 5 5'), ('1\n7\n', '7'))
PRIMES = _tests(('10', '2 3 5 7'), ('2', '2'), ('1', ''), ('30', '2 3 5 7 11 13 17 19 23 29'))
WORDS = _tests(('the cat the dog\n', 'cat 1\ndog 1\nthe 2\n'), ('a\n', 'a 1\n'), ('', ''))
PATHS = _tests(('4 4\n1 2 1\n2 3 1\n1 3 5\n3 4 1\n', '3'), ('2 0\n', '-1'),
               ('3 2\n1 2 4\n1 3 9\n', '9'))
FIBONACCI = _tests(('10', '55'), ('0', '0'), ('90', '2880067194370816120'))
ROOT = dict(tests=[dict(stdin='2', stdout='1.414213562'), dict(stdin='9', stdout='3.000000000'),
                   dict(stdin='0.25', stdout='0.500000000')], meta=dict(checker='float_1e-6'))
BRACKETS = _tests(('([]{})', 'YES'), ('(]', 'NO'), ('((', 'NO'), ('', 'YES'))
KNAPSACK = _tests(('3 4\n1 1\n3 4\n4 5\n', '5'), ('1 1\n2 9\n', '0'), ('2 10\n5 10\n5 20\n', '30'))
CASES = dict(tests=[dict(stdin='2\n1 2\n3 3\n', stdout='Case #1: yes\nCase #2: no\n')],
             meta=dict(checker='case_insensitive_tokens'))

_READ = 'long long n, s = 0, x; cin >> n; while (n--) { cin >> x; s += x; }'
_SIEVE = ('int n; cin >> n; vector<bool> c(n + 1); for (int i = 2; i {less} n; i++) {{ if (c[i]) '
          'continue; cout << i << " "; for (long long j = 1LL * i * i; j <= n; j += i) c[j] = 1; '
          '}}')
_DIJKSTRA = '''int n, m; cin >> n >> m; vector<vector<pair<int, int>>> g(n + 1);
while (m--) {{ int a, b, w; cin >> a >> b >> w; g[a].push_back({{b, w}}); }}
typedef pair<long long, int> P; vector<long long> d(n + 1, LLONG_MAX);
priority_queue<P, vector<P>, {order}<P>> q; q.push({{0, 1}}); d[1] = 0;
while (q.size()) {{ auto [t, a] = q.top(); q.pop(); if (t > d[a]) continue;
for (auto [b, w] : g[a]) if (t + w < d[b]) q.push({{d[b] = t + w, b}}); }}
cout << ({missing} ? -1 : d[n]);'''
_BRACKETS = '''string s; cin >> s; stack<char> t;
map<char, char> o{{{{')', '('}}, {{']', '['}}, {{'}}', '{{'}}}};
for (char c : s) {{ if (!o.count(c)) t.push(c); else {{ {check} t.pop(); }} }}
cout << ({end} ? "YES" : "NO");'''
_KNAPSACK = ('int n, c; cin >> n >> c; vector<int> b(c + 1); while (n--) {{ int w, v; '
             'cin >> w >> v; {loop} b[j] = max(b[j], b[j - w] + v); }} cout << b[c];')

SOLUTIONS = [
    ('sum', main(_READ + 'cout << s;'), SUM, 'correct', ''),
    ('sum by numeric', main('int n; cin >> n; vector<long long> v(n); for (auto& x : v) cin >> x; '
                            'cout << accumulate(v.begin(), v.end(), 0LL) << endl;'), SUM, 'correct',
     ''),
    ('sum in C', '#include <stdio.h>\nint main(void) { long long n, x, s = 0; scanf("%lld", &n); '
     'while (n--) { scanf("%lld", &x); s += x; } printf("%lld\\n", s); return 0; }', SUM, 'correct',
     ''),
    ('sum that overflows', main('int n, s = 0, x; cin >> n; while (n--) { cin >> x; s += x; } '
                                'cout << s;'), SUM, 'wrong', '32 bits'),
    ('sum of one too many', main('int n; cin >> n; vector<long long> v(n); for (auto& x : v) cin '
                                 '>> x; long long s = 0; for (int i = 0; i < n; i++) s += v[i] + 1;'
                                 ' cout << s;'), SUM, 'wrong', ''),
    ('sum that ends badly', main(_READ + 'cout << s << endl; return 1;'), SUM, 'runtime_error',
     'the output is right, the exit code is not'),
    ('sum without its brace', main(_READ + 'cout << s; {'), SUM, 'compile_error', ''),
    ('sort', main('int n; cin >> n; vector<int> v(n); for (int& x : v) cin >> x; sort(v.begin(), '
                  'v.end()); for (int x : v) cout << x << " ";'), SORT, 'correct',
     'a space at the end'),
    ('sort by ranges', main('int n; cin >> n; vector<int> v(n); for (int& x : v) cin >> x; '
                            'ranges::sort(v); for (int x : v | views::transform([](int y) { return '
                            'y; })) cout << x << "\\n";'), SORT, 'correct', 'C++20'),
    ('sort with concepts', main(
        'int n; cin >> n; vector<int> v(n); for (int& x : v) cin >> x; sorted(v); for (int x : v) '
        'printf("%d ", x);', 'template <totally_ordered T> void sorted(vector<T>& v) { ranges::sort'
        '(v, [](auto a, auto b) { return (a <=> b) < 0; }); }'), SORT, 'correct', 'C++20'),
    ('sort downwards', main('int n; cin >> n; vector<int> v(n); for (int& x : v) cin >> x; '
                            'sort(v.rbegin(), v.rend()); for (int x : v) cout << x << " ";'), SORT,
     'wrong', ''),
    ('sort without repeats', main('int n, x; cin >> n; set<int> s; while (n--) { cin >> x; '
                                  's.insert(x); } for (int y : s) cout << y << " ";'), SORT,
     'wrong', ''),
    ('sort beyond its end', main('int n; cin >> n; vector<int> v(n); for (int i = 0; i <= n; i++) '
                                 'cin >> v.at(i);'), SORT, 'runtime_error', 'an exception'),
    ('primes', main(_SIEVE.format(less='<=')), PRIMES, 'correct', ''),
    ('primes below', main(_SIEVE.format(less='<')), PRIMES, 'wrong', 'off by one'),
    ('primes for ever', main('int n; cin >> n; for (unsigned i = n; i >= 0; i--) n += i;'), PRIMES,
     'timeout', 'an unsigned number is never negative'),
    ('words', main('map<string, int> m; string w; while (cin >> w) m[w]++; for (auto& [k, v] : m) '
                   'cout << k << " " << v << "\\n";'), WORDS, 'correct', ''),
    ('words in any order', main('vector<pair<string, int>> m; string w; while (cin >> w) m.push_'
                                'back({w, 1}); for (auto& [k, v] : m) cout << k << " " << v << '
                                '"\\n";'), WORDS, 'wrong', ''),
    ('words without a header', 'int main() { std::map<std::string, int> m; }', WORDS,
     'compile_error', ''),
    ('paths', main(_DIJKSTRA.format(order='greater', missing='d[n] == LLONG_MAX')), PATHS,
     'correct', ''),
    ('paths that need not exist', main(_DIJKSTRA.format(order='greater', missing='false')), PATHS,
     'wrong', ''),
    ('Fibonacci', main('long long n, a = 0, b = 1; cin >> n; while (n--) { b += a; a = b - a; } '
                       'cout << a;'), FIBONACCI, 'correct', ''),
    ('Fibonacci in constants', main(
        'int n; cin >> n; cout << table[n];', 'constexpr auto table = [] { array<long long, 91> f{0'
        ', 1}; for (int i = 2; i < 91; i++) f[i] = f[i - 1] + f[i - 2]; return f; }();'), FIBONACCI,
     'correct', ''),
    ('Fibonacci as it is defined', main('long long n; cin >> n; cout << f(n);', 'long long f(int n)'
                                        ' { return n < 2 ? n : f(n - 1) + f(n - 2); }'), FIBONACCI,
     'timeout', 'exponential'),
    ('Fibonacci in floats', main('int n; cin >> n; double a = 0, b = 1; while (n--) { b += a; a = b'
                                 ' - a; } cout << fixed << setprecision(0) << a;'), FIBONACCI,
     'wrong', 'rounded'),
    ('root', main('double x; cin >> x; cout << setprecision(12) << sqrt(x);'), ROOT, 'correct',
     'other digits'),
    ('root to three digits', main('double x; cin >> x; printf("%.3f", sqrt(x));'), ROOT, 'wrong',
     ''),
    ('brackets', main(_BRACKETS.format(
        check='if (t.empty() || t.top() != o[c]) { cout << "NO"; return 0; }', end='t.empty()')),
     BRACKETS, 'correct', ''),
    ('brackets left open', main(_BRACKETS.format(
        check='if (t.empty() || t.top() != o[c]) { cout << "NO"; return 0; }', end='true')),
     BRACKETS, 'wrong', ''),
    ('knapsack', main(_KNAPSACK.format(loop='for (int j = c; j >= w; j--)')), KNAPSACK, 'correct',
     ''),
    ('knapsack that repeats', main(_KNAPSACK.format(loop='for (int j = w; j <= c; j++)')), KNAPSACK,
     'wrong', 'an item more than once'),
    ('knapsack of gigabytes', main('vector<vector<long long>> v; for (;;) v.emplace_back(1 << 20, '
                                   '1);'), KNAPSACK, 'memory', ''),
    ('cases', main('int t; cin >> t; for (int i = 1; i <= t; i++) { int a, b; cin >> a >> b; cout '
                   '<< "Case #" << i << ": " << (a != b ? "YES" : "NO") << endl; }'), CASES,
     'correct', 'upper and lower case do not matter here'),
    ('cases from zero', main('int t; cin >> t; for (int i = 0; i < t; i++) { int a, b; cin >> a >> '
                             'b; cout << "Case #" << i << ": " << (a != b ? "YES" : "NO") << endl; '
                             '}'), CASES, 'wrong', ''),
]
