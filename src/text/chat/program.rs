//! Bounds on a template's program, before it is compiled.
//!
//! The compiler descends once for each operator of a row and for each `elif`, looks at all operands at each level, and computes
//! what is constant without paying fuel. So programs are not nested deeper than [`MAX_LEVELS`], and constant lists not repeated
//! more than [`MAX_REPEATED`] times.

use minijinja::machinery::ast::{BinOpKind, Call, CallArg, Expr, Stmt};
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Levels of the deepest program; known templates have a tenth.
const MAX_LEVELS: usize = 500;
/// Entries of the longest constant list that is made by repeating a shorter one.
const MAX_REPEATED: usize = 256;

/// A part of a program.
#[derive(Clone, Copy)]
enum Node<'n, 'a> {
    Statement(&'n Stmt<'a>),
    Expression(&'n Expr<'a>),
}

/// Refuses a program that takes the compiler too long.
pub(super) fn check(program: &Stmt<'_>) -> Result<(), Error> {
    let mut left = vec![(Node::Statement(program), 0)];
    let mut expressions = Vec::new();
    while let Some((node, level)) = left.pop() {
        if level > MAX_LEVELS {
            let message = format!(
                "more than {MAX_LEVELS} levels of operators, elifs and blocks, one within the other"
            );
            return Err(Error::new(ErrorKind::SyntaxError, message));
        }
        match node {
            Node::Statement(statement) => push_parts_of_statement(statement, |part| {
                left.push((part, level + 1));
            }),
            Node::Expression(expression) => {
                expressions.push(expression);
                push_parts_of_expression(expression, &mut |part| {
                    left.push((Node::Expression(part), level + 1));
                });
            }
        }
    }
    // Operands before what they are operands of, which can thus be computed.
    expressions.into_iter().rev().try_for_each(check_repetition)
}

fn check_repetition(expression: &Expr<'_>) -> Result<(), Error> {
    let Expr::BinOp(operation) = expression else {
        return Ok(());
    };
    if !matches!(operation.op, BinOpKind::Mul) {
        return Ok(());
    }
    let (Some(left), Some(right)) = (operation.left.as_const(), operation.right.as_const()) else {
        return Ok(());
    };
    let entries = |list: &Value| match list.kind() {
        ValueKind::Seq | ValueKind::Iterable => list.len(),
        _ => None,
    };
    let times = |number: &Value| usize::try_from(number.clone()).unwrap_or(0);
    let repeated = match (entries(&left), entries(&right)) {
        (Some(entries), _) => entries.saturating_mul(times(&right)),
        (None, Some(entries)) => entries.saturating_mul(times(&left)),
        (None, None) => 0,
    };
    match repeated {
        0..=MAX_REPEATED => Ok(()),
        _ => {
            let message = format!("a constant list of more than {MAX_REPEATED} repeated entries");
            Err(Error::new(ErrorKind::SyntaxError, message))
        }
    }
}

fn push_parts_of_statement<'n, 'a>(statement: &'n Stmt<'a>, push: impl FnMut(Node<'n, 'a>)) {
    let (expressions, bodies): (Vec<&Expr<'a>>, Vec<&Vec<Stmt<'a>>>) = match statement {
        Stmt::Template(template) => (vec![], vec![&template.children]),
        Stmt::EmitExpr(emit) => (vec![&emit.expr], vec![]),
        Stmt::ForLoop(each) => {
            let filter = each.filter_expr.as_ref();
            let expressions = [&each.target, &each.iter].into_iter().chain(filter);
            (expressions.collect(), vec![&each.body, &each.else_body])
        }
        Stmt::IfCond(condition) => (
            vec![&condition.expr],
            vec![&condition.true_body, &condition.false_body],
        ),
        Stmt::WithBlock(with) => {
            let assignments = with.assignments.iter();
            let expressions = assignments.flat_map(|(target, value)| [target, value]);
            (expressions.collect(), vec![&with.body])
        }
        Stmt::Set(set) => (vec![&set.target, &set.expr], vec![]),
        Stmt::SetBlock(set) => {
            let expressions = [&set.target].into_iter().chain(&set.filter);
            (expressions.collect(), vec![&set.body])
        }
        Stmt::AutoEscape(escape) => (vec![&escape.enabled], vec![&escape.body]),
        Stmt::FilterBlock(filter) => (vec![&filter.filter], vec![&filter.body]),
        Stmt::Block(block) => (vec![], vec![&block.body]),
        Stmt::Import(import) => (vec![&import.expr, &import.name], vec![]),
        Stmt::FromImport(import) => (vec![&import.expr], vec![]),
        Stmt::Extends(extends) => (vec![&extends.name], vec![]),
        Stmt::Include(include) => (vec![&include.name], vec![]),
        Stmt::Macro(declared) => {
            let expressions = declared.args.iter().chain(&declared.defaults);
            (expressions.collect(), vec![&declared.body])
        }
        Stmt::CallBlock(block) => {
            let declared = &block.macro_decl;
            let expressions = declared.args.iter().chain(&declared.defaults);
            (
                expressions.chain(parts_of_call(&block.call)).collect(),
                vec![&declared.body],
            )
        }
        Stmt::Do(call) => (parts_of_call(&call.call).collect(), vec![]),
        Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => (vec![], vec![]),
    };
    let statements = bodies.into_iter().flatten();
    let expressions = expressions.into_iter().map(Node::Expression);
    let parts = expressions.chain(statements.map(Node::Statement));
    parts.for_each(push);
}

fn push_parts_of_expression<'n, 'a>(expression: &'n Expr<'a>, push: &mut impl FnMut(&'n Expr<'a>)) {
    match expression {
        Expr::Var(_) | Expr::Const(_) => {}
        Expr::Slice(slice) => {
            push(&slice.expr);
            let bounds = [&slice.start, &slice.stop, &slice.step];
            bounds.into_iter().flatten().for_each(push);
        }
        Expr::UnaryOp(operation) => push(&operation.expr),
        Expr::BinOp(operation) => [&operation.left, &operation.right]
            .into_iter()
            .for_each(push),
        Expr::Compare(comparison) => {
            push(&comparison.expr);
            let others = comparison.ops.iter();
            others.map(|other| &other.expr).for_each(push);
        }
        Expr::IfExpr(choice) => {
            push(&choice.test_expr);
            push(&choice.true_expr);
            choice.false_expr.iter().for_each(push);
        }
        Expr::Filter(filter) => {
            let arguments = filter.args.iter().map(argument);
            filter.expr.iter().chain(arguments).for_each(push);
        }
        Expr::Test(test) => {
            push(&test.expr);
            test.args.iter().map(argument).for_each(push);
        }
        Expr::GetAttr(lookup) => push(&lookup.expr),
        Expr::GetItem(lookup) => [&lookup.expr, &lookup.subscript_expr]
            .into_iter()
            .for_each(push),
        Expr::Call(call) => parts_of_call(call).for_each(push),
        Expr::List(list) => list.items.iter().for_each(push),
        Expr::Tuple(tuple) => tuple.items.iter().for_each(push),
        Expr::Map(map) => map.keys.iter().chain(&map.values).for_each(push),
    }
}

fn parts_of_call<'n, 'a>(call: &'n Call<'a>) -> impl Iterator<Item = &'n Expr<'a>> {
    [&call.expr]
        .into_iter()
        .chain(call.args.iter().map(argument))
}

fn argument<'n, 'a>(argument: &'n CallArg<'a>) -> &'n Expr<'a> {
    match argument {
        CallArg::Pos(value)
        | CallArg::Kwarg(_, value)
        | CallArg::PosSplat(value)
        | CallArg::KwargSplat(value) => value,
    }
}
