;;; mailsync-gnus-sources.el --- Fetch a maildir that is a mail source of Gnus  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; nnml, nnfolder, nnmaildir with `get-new-mail' and their like take mail
;; out of `mail-sources' and split it into groups.  Gnus has one function
;; for that, `gnus-request-scan', which fetches all of them; with
;; `mail-sources' bound to one it fetches that one.
;;
;; Gnus catches what goes wrong and returns as if nothing had, so whether
;; a fetch was well is found out by standing between Gnus and the two
;; functions that it calls: the one that empties a maildir, and the one
;; of the user that says where a message belongs.
;;
;; To split a message takes some milliseconds, or as long as the user's
;; rules like, and Gnus takes all that are in a maildir.  So it is shown a
;; few of many, as the time that the last ones took allows, and fetches
;; again for the next ones.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-check)
(require 'mailsync-gnus-split)

;;;; Internal variables

(defconst mailsync-gnus--fetch-time 0.03
  "Let Gnus fetch what takes about so many seconds in one go.")

(defconst mailsync-gnus--fetch-time-in-hurry 0.008
  "`mailsync-gnus--fetch-time' while the user types.")

(defconst mailsync-gnus--fetch-max 50
  "Let Gnus fetch so many messages at most in one go.")

(defvar mailsync-gnus--fetch-pace nil
  "How many messages the last fetch took and in how many seconds, a cons.
Nil before the first one.")

(defvar mailsync-gnus--shown (make-hash-table :test #'equal)
  "Maildir of which more is to be fetched, to what Gnus was shown last.
That is an alist from subdirectories to files.")

(defvar mailsync-gnus--fetch-left nil
  "How many messages Gnus may still be shown during a fetch.")

(defvar mailsync-gnus--shorten nil
  "Function that shortens the list of files in a directory during a fetch.")

;;;; Declarations

(defvar gnus-plugged)
(defvar gnus-secondary-select-methods)
(defvar gnus-select-method)
(defvar mail-source-delete-incoming)
(defvar mail-source-directory)
(defvar mail-source-fetcher-alist)
(defvar mail-sources)
(defvar mailsync-gnus-split)
(defvar nnmail-fetched-sources)
(defvar nnmail-split-history)
(defvar nnmail-split-methods)

(declare-function gnus-agent-method-p "gnus" (method-or-server))
(declare-function gnus-find-method-for-group "gnus" (group &optional info))
(declare-function gnus-request-scan "gnus-int" (group command-method))
(declare-function gnus-server-status "gnus" (method))
(declare-function gnus-server-to-method "gnus" (server))
(declare-function mail-source-value "mail-source" (value))

(declare-function mailsync--once "mailsync-log" (key level format &rest args))

;;;; Whether, and by which server

(defun mailsync-gnus--calls-for-fetch-p (change)
  "Non-nil if there may be mail to fetch after CHANGE in a mail source.
A fetch makes messages vanish: that alone must not lead to another."
  (let ((kinds (plist-get change :kinds)))
    (cl-some (lambda (kind) (memq kind kinds))
             '(new flags folder-created unknown))))

(defun mailsync-gnus--takes-mail-p (method)
  "Non-nil if the server METHOD takes in the mail of `mail-sources'."
  (pcase (car method)
    ('nnmaildir (cadr (assq 'get-new-mail (cddr method))))
    ;; It has sources of its own.
    ('nndiary nil)
    (backend (mailsync-gnus--server-value
              method (intern (format "%s-get-new-mail" backend))))))

(defun mailsync-gnus--fetching-method ()
  "The server that takes in the mail of `mail-sources', nil if none does.
It is the first one that would when Gnus looks for mail."
  (cl-some (lambda (method)
             (let ((method (if (stringp method)
                               (gnus-server-to-method method)
                             method)))
               (and (consp method)
                    (mailsync-gnus--takes-mail-p method)
                    method)))
           (cons gnus-select-method gnus-secondary-select-methods)))

(defun mailsync-gnus--why-no-fetch (source method)
  "Why the mail source SOURCE must be left alone, a string, or nil.
METHOD is the server that takes mail in."
  (let (status)
    (cond
     ((not mailsync-gnus-split)
      (format-message "a mail source, but `mailsync-gnus-split' is nil"))
     ((null method) "a mail source, but no server takes its mail in")
     ((and (not gnus-plugged)
           (or (gnus-agent-method-p method)
               (not (ignore-errors
                      (mail-source-value (plist-get (cdr source) :plugged))))))
      "unplugged")
     ((not (eq 'ok (setq status (gnus-server-status method))))
      (format "server %s %s" (mailsync-gnus--server-name method)
              (or status "never opened"))))))

;;;; The fetch

(defun mailsync-gnus--fetch (directory source method)
  "Have METHOD fetch and split the mail of SOURCE, the maildir DIRECTORY.
Return a list (RESULT GROUPS): RESULT is `checked', `partial' (there
is more to fetch), `quit' (by the user), or a string that says why
it failed; GROUPS are those to which mail went, in any case."
  (require 'nnmail)
  (let* ((mailsync-gnus--split-error nil)
         (mailsync-gnus--split-refuge '("bogus"))
         (mailsync-gnus--split-unfit
          (and (eq (car method) 'nnmaildir) "\\`\\(?:\\'\\|\\.\\)\\|[\0/\t]"))
         (mailsync-gnus--fetch-left (mailsync-gnus--fetch-size))
         (begun (float-time))
         (called nil)
         (more nil)
         (quit nil)
         (failure nil)
         (last nil)                     ; error, which Gnus may have handled
         (history nil)
         (signal-hook-function
          (lambda (symbol data)
            (if (eq symbol 'quit)
                (setq quit t)
              (setq last (if symbol (cons symbol data) data)))))
         (around
          (lambda (fetch)
            (setq called t)
            (condition-case err
                (mailsync-gnus--with-few-files
                 directory (lambda () (setq more t)) fetch)
              (error
               (setq failure err)
               (signal (car err) (cdr err)))))))
    (condition-case err
        (mailsync-gnus--noting-splits history
          (mailsync-gnus--check-incoming)
          (unless (mailsync-gnus--quietly
                    (mailsync-gnus--scan-source directory source method around)
                    t)
            (setq quit t)))
      (error (setq failure err)))
    ;; Before it comes to this source, Gnus takes in what an earlier
    ;; fetch left in the crash box.
    (unless (or called failure)
      (setq failure
            (list 'error
                  (concat "Gnus did not look into it"
                          (and last
                               (format " (the last error seen: %s)"
                                       (error-message-string last)))))))
    (when history
      (setq mailsync-gnus--fetch-pace
            (cons (length history) (- (float-time) begun))))
    (when mailsync-gnus--split-error
      (mailsync-gnus--say-split-error
       (concat "mail source " (abbreviate-file-name directory)) directory
       nnmail-split-methods "goes to the group \"bogus\""))
    (unless (and more (not quit) (not failure))
      (remhash directory mailsync-gnus--shown))
    (list (cond (quit 'quit)
                (failure (mailsync-gnus--say-failure directory method failure))
                (more 'partial)
                (t 'checked))
          (mailsync-gnus--split-destinations history))))

(defun mailsync-gnus--scan-source (directory source method around)
  "Have METHOD look for mail in SOURCE, the maildir DIRECTORY, alone.
AROUND is called with a function that takes the mail out of it."
  (let* ((group (mailsync-gnus--scan-group method directory))
         (fetcher (cadr (assq 'maildir mail-source-fetcher-alist)))
         (called nil)
         (mail-source-fetcher-alist
          (cons (list 'maildir
                      (lambda (&rest args)
                        (setq called t)
                        (funcall around (lambda () (apply fetcher args)))))
                mail-source-fetcher-alist))
         (mail-sources (list source))
         ;; Non-nil, or nothing is fetched.
         (nnmail-fetched-sources (list t)))
    (let ((nnmail-split-methods
           (mailsync-gnus--guarded-methods nnmail-split-methods)))
      (gnus-request-scan group method)
      ;; That group may be gone.
      (when (and group (not called))
        (gnus-request-scan nil method)))))

(defun mailsync-gnus--with-few-files (directory more function)
  "Call FUNCTION, which empties the maildir DIRECTORY, and return its value.
It sees a few of many messages only; then MORE is called too."
  (let ((file-name-handler-alist
         (cons (cons (concat "\\`" (regexp-quote directory) "/+[^/]+/*\\'")
                     #'mailsync-gnus--list-few)
               file-name-handler-alist))
        (mailsync-gnus--shorten
         (lambda (subdirectory files)
           (let ((few (mailsync-gnus--few directory subdirectory files)))
             (unless (eq few files)
               (funcall more))
             few))))
    (funcall function)))

(defun mailsync-gnus--list-few (operation &rest args)
  "Handler of file names: do OPERATION with ARGS as ever, but list less.
Only a list of all files in a directory is shortened: it is what
Gnus asks for in order to take them."
  (let* ((inhibit-file-name-handlers
          (cons #'mailsync-gnus--list-few
                (and (eq inhibit-file-name-operation operation)
                     inhibit-file-name-handlers)))
         (inhibit-file-name-operation operation)
         (value (apply operation args)))
    (if (and (eq operation 'directory-files)
             (nth 1 args)               ; whole names
             (null (nth 2 args))        ; of all files
             mailsync-gnus--shorten)
        (funcall mailsync-gnus--shorten (car args) value)
      value)))

(defun mailsync-gnus--fetch-size ()
  "How many messages Gnus shall be shown in a fetch.
As many as can be fetched in `mailsync-gnus--fetch-time' if they
take as long as the last ones did, but not many more than those,
which may have been small ones; to begin with, one."
  (pcase mailsync-gnus--fetch-pace
    ('nil 1)
    (`(,count . ,seconds)
     (let ((time (if mailsync-gnus--hurry
                     mailsync-gnus--fetch-time-in-hurry
                   mailsync-gnus--fetch-time)))
       (max 1 (min mailsync-gnus--fetch-max
                   (* 2 count)
                   ;; A clock may be set back.
                   (floor (* count (/ time (max seconds 1e-6))))))))))

(defun mailsync-gnus--few (directory subdirectory files)
  "A few of FILES, which are in SUBDIRECTORY of the maildir DIRECTORY.
Or all, if they are few, or if what was shown to Gnus the last
time is still there: then something keeps it from taking it, and
it is shown everything."
  (let ((shown (gethash directory mailsync-gnus--shown))
        (messages (let ((file-name-handler-alist nil)) ; there are many
                    (cl-remove-if (lambda (file)
                                    (string-prefix-p
                                     "." (file-name-nondirectory file)))
                                  files))))
    (when (cl-some (lambda (file) (member file messages))
                   (cdr (assoc subdirectory shown)))
      (setq mailsync-gnus--fetch-left most-positive-fixnum))
    (if (<= (length messages) mailsync-gnus--fetch-left)
        (progn
          (cl-decf mailsync-gnus--fetch-left (length messages))
          files)
      (let ((few (seq-take messages mailsync-gnus--fetch-left)))
        (setq mailsync-gnus--fetch-left 0)
        (puthash directory
                 (cons (cons subdirectory few)
                       (assoc-delete-all subdirectory shown))
                 mailsync-gnus--shown)
        few))))

(defun mailsync-gnus--scan-group (method directory)
  "The group that METHOD shall scan when it fetches DIRECTORY, nil for all.
nnmaildir looks into each group that it scans, which costs time,
and must not see in DIRECTORY what will be gone from there."
  (when (and (eq (car method) 'nnmaildir) mailsync-gnus--index)
    (let ((server (mailsync-gnus--server-name method))
          (names (mailsync-gnus--directory-names directory)))
      (cl-loop for (other . group) in (mailsync-gnus--index-directories
                                       mailsync-gnus--index)
               when (and (mailsync-gnus--entry group)
                         (mailsync-gnus--active group)
                         (equal server (mailsync-gnus--server-name
                                        (gnus-find-method-for-group group)))
                         (not (cl-intersection
                               names (mailsync-gnus--directory-names other)
                               :test #'equal)))
               return group))))

(defun mailsync-gnus--check-incoming ()
  "Signal an error if Gnus could not keep a copy of the mail it takes in.
It notices only when the mail is in its groups, and the next time
puts it there once more."
  (unless (or (eq mail-source-delete-incoming t)
              (file-directory-p mail-source-directory))
    (signal 'file-missing
            (list "`mail-source-directory'" "No such directory"
                  mail-source-directory))))

(defun mailsync-gnus--say-failure (directory method failure)
  "Say once that METHOD could not fetch DIRECTORY, because of FAILURE; return why."
  (let ((text (error-message-string failure)))
    (mailsync--once (list 'gnus-fetch directory (car failure)) 'error
                    "mail source %s: the fetch failed: %s.  Its mail is there, \
or in `mail-source-crash-box'; see `mail-sources', `nnmail-split-methods', \
Gnus's hooks for incoming mail and the directories of %s"
                    (abbreviate-file-name directory) text
                    (mailsync-gnus--server-name method))
    text))

(provide 'mailsync-gnus-sources)
;;; mailsync-gnus-sources.el ends here
