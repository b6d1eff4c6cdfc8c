;;; mailsync-gnus-maildir.el --- Keep nnmaildir from looking at more than it must  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; When nnmaildir scans a group it moves what is in new/ to cur/, lists
;; cur/, and takes in what it does not know.  For a big group the list is
;; nearly all that this costs, for each name in it becomes garbage several
;; times over.  So a scan is helped in two ways, both by the function that
;; nnmaildir lists directories with (the public parameter `directory-files').
;;
;; A few at a time.  It is shown a few of many messages in new/ only.
;;
;; Whatever new/'s time says.  A message that arrives in the same tick of the
;; clock as the one before, just after that was moved, leaves the time as it
;; was, and nnmaildir would not list new/ before yet another one arrives.  So
;; it is told a time that is not the true one, too: there is little to list.
;;
;; Only what is new.  If cur/ has not been modified since nnmaildir knew all
;; of it, then what is new in it is what nnmaildir has just moved there, and
;; a list of that will do.
;;
;; Something else may arrive in cur/ between that look at the modification
;; time and nnmaildir's, a moment later.  So nnmaildir is told a time that is
;; not the true one: whoever scans the group next without our help, the user
;; or the full look that follows in an idle moment, finds that cur/ has been
;; modified, and lists all of it.
;;
;; The user looks for mail, too, and then nnmaildir lists cur/ without our
;; help.  So when Gnus has it scan, it is noted when each cur/ had been
;; modified; after that our next scan need not list it once more.

;; nnmaildir forgets a message that it is asked for after another program
;; has changed its flags, for it looks for the file under the old name.  It
;; would find it again when it lists cur/ the next time, which may never be.
;; So where more may have happened than an arrival it is told an untrue time,
;; too.

;; A message that gets another name while nnmaildir takes it in is one that it
;; does not know yet, and that it forgets nevertheless: that ends in an error,
;; or where it knows one message only in forgetting that one, which Gnus then
;; shows as read for ever.  So it is kept from that.

;; A look at the flags lists cur/ once for each flag.  There it is helped by
;; one list for all of them.  The flags of a message that has no number yet
;; are seen too early, by us or by Gnus: when it has one, the next look is told
;; an untrue time.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)

;;;; Internal variables

(defconst mailsync-gnus--arrivals-max 10
  "Let nnmaildir take in so many new messages at most in one go.
Each one costs some milliseconds, for it is read and indexed.")

(defconst mailsync-gnus--arrivals-max-in-hurry 3
  "`mailsync-gnus--arrivals-max' while the user types.")

(defvar mailsync-gnus--hurry nil
  "Non-nil while the user types: do no more than is necessary.")

(defvar mailsync-gnus--partial (make-hash-table :test #'equal)
  "Group, some of whose new messages were taken in, to (OLD . FILES).
OLD is the number of unread messages before, FILES are those that
nnmaildir was shown last.")

(defvar mailsync-gnus--directory-files #'directory-files
  "The function by which nnmaildir lists a directory during a check.")

(cl-defstruct (mailsync-gnus--cur
               (:constructor mailsync-gnus--make-cur)
               (:copier nil))
  "What nnmaildir knew of a group's cur/ when it knew all of it."
  modified       ; when cur/ had been modified, in truth
  told           ; what nnmaildir was told instead, or the same
  witness        ; the base name of a message that it knew
  except)        ; list of one: names in cur/ that it does not know

(cl-defstruct (mailsync-gnus--maildir
               (:constructor mailsync-gnus--make-maildir)
               (:copier nil))
  "A scan of a group that is helped."
  group
  more           ; function to be called if there is more in new/
  known          ; what nnmaildir knows of cur/, or nil
  whole          ; non-nil: all of cur/ is to be listed in any case
  short          ; non-nil: a list of what is new in cur/ will do
  moving         ; names in new/ that it moves
  modified       ; when cur/ was last found to be modified
  told           ; what nnmaildir was told
  witness)       ; the base name of a message in cur/

(defvar mailsync-gnus--known (make-hash-table :test #'equal)
  "Group to the `mailsync-gnus--cur' of it.")

(defvar mailsync-gnus--scanned (make-hash-table :test #'equal)
  "(SERVER . CUR), scanned by Gnus without us, to when CUR had been modified.
nnmaildir was told the truth, and knows all that was there.  It is
younger than what `mailsync-gnus--known' has of the group.  The
symbol `unfinished' if that scan did not come to its end.")

(defvar mailsync-gnus--helping nil
  "Non-nil while a scan is helped.")

(defconst mailsync-gnus--piece 0.008
  "Look through a long list for so many seconds in one go.")

(defvar mailsync-gnus--ahead (make-hash-table :test #'equal)
  "Group to (MODIFIED REST UNKNOWN AGAIN), of a list that is looked through.
MODIFIED is when its cur/ had been modified, REST are the names
still to be looked at, UNKNOWN those that nnmaildir does not know,
AGAIN says how often cur/ has changed meanwhile.")

(defconst mailsync-gnus--long 3000
  "How many messages make a long list.")

(defconst mailsync-gnus--ahead-max 3
  "Begin so many times at most to look through a list.")

(defvar mailsync-gnus--doubted (make-hash-table :test #'equal)
  "The groups whose flags are to be looked at even if cur/ was not modified.
What Gnus has of them may be wrong for another reason.")

(defvar mailsync-gnus--looked (make-hash-table :test #'equal)
  "Group to its highest number when its flags were looked at.
Before the first look, when it was first scanned.")

(defvar mailsync-gnus--untrue 0
  "The last of the times that are told instead of a true one.
They count down from 1970, when no cur/ was modified.")

;;;; Declarations

(defvar gnus-parameters)

(declare-function gnus-group-find-parameter "gnus"
                  (group &optional symbol allow-list))
(declare-function nnmaildir--art-num "nnmaildir" (article) t)
(declare-function nnmaildir-article-number-to-base-name "nnmaildir"
                  (number group-name server-address-string))
(declare-function nnmaildir-base-name-to-article-number "nnmaildir"
                  (base-name group-name server-address-string))

;;;; A scan

(defun mailsync-gnus--helped-p (group method)
  "Non-nil if a scan of GROUP of METHOD is to be helped."
  (and (eq (car method) 'nnmaildir)
       (not (assq 'directory-files (cddr method)))
       ;; There it moves nothing.  It asks for its parameters by either
       ;; name.
       (not (gnus-group-find-parameter group 'read-only))
       (not (gnus-group-find-parameter (mailsync-gnus--real-name group)
                                       'read-only))))

(defun mailsync-gnus--helping-scan (group method light more function)
  "Call FUNCTION, which scans GROUP of METHOD, and return its value.
nnmaildir sees a few of many new messages only; then MORE is
called too.  It moves what it sees to cur/, so the next scan sees
the next ones.  LIGHT non-nil means that messages have arrived
and that nothing else need be found."
  (declare (indent 3))
  (if (not (mailsync-gnus--helped-p group method))
      (funcall function)
    (let* ((known (and light (mailsync-gnus--known-cur group method)))
           (scan (mailsync-gnus--make-maildir :group group :known known
                                           :whole (not light) :more more))
           (mailsync-gnus--directory-files
            (lambda (directory &rest args)
              (mailsync-gnus--list scan directory args)))
           ;; A parameter that nnmaildir evaluates; of any group, but
           ;; only this one is scanned.
           (gnus-parameters
            (cons '("" (directory-files . mailsync-gnus--directory-files))
                  gnus-parameters))
           (file-name-handler-alist (mailsync-gnus--with-cur-handler scan))
           (mailsync-gnus--helping t)
           (value nil))
      ;; Not if it ends otherwise, by a quit or an error.
      (remhash group mailsync-gnus--known)
      (mailsync-gnus--scanned group method t)
      (unless (gethash group mailsync-gnus--looked)
        (puthash group (cdr (mailsync-gnus--active group))
                 mailsync-gnus--looked))
      (setq value (funcall function))
      (when value
        (mailsync-gnus--note-cur scan method))
      value)))

;;;; Directories

(defun mailsync-gnus--subdirectory (directory)
  "The last component of the name DIRECTORY."
  (file-name-nondirectory (directory-file-name directory)))

(defun mailsync-gnus--list (scan directory arguments)
  "List DIRECTORY for nnmaildir during SCAN.
ARGUMENTS are the others of `directory-files'."
  (pcase (mailsync-gnus--subdirectory directory)
    ("new" (mailsync-gnus--list-new scan directory arguments))
    ("cur" (let ((files (if (mailsync-gnus--maildir-short scan)
                            (mailsync-gnus--list-arrived scan directory)
                          'unknown)))
             (if (eq files 'unknown)
                 (mailsync-gnus--list-cur scan directory arguments)
               files)))
    (_ (apply #'directory-files directory arguments))))

(defun mailsync-gnus--list-new (scan directory arguments)
  "List DIRECTORY, the new/ of the group of SCAN, as ARGUMENTS say.
nnmaildir is about to move these to cur/."
  (let* ((known (mailsync-gnus--maildir-known scan))
         ;; Before the list, and therefore before the moves.
         (same (and known
                    (equal (mailsync-gnus--modified
                            (expand-file-name "../cur" directory))
                           (mailsync-gnus--cur-modified known))))
         (files (mailsync-gnus--few-arrivals scan directory
                                    (apply #'directory-files directory
                                           arguments))))
    (when (and same files)
      (setf (mailsync-gnus--maildir-short scan) t
            (mailsync-gnus--maildir-moving scan) files))
    files))

(defun mailsync-gnus--list-arrived (scan directory)
  "What is new in DIRECTORY, the cur/ of the group of SCAN.
The symbol `unknown' if that is not known."
  (catch 'unknown
    (let ((arrived (copy-sequence
                    (car (mailsync-gnus--cur-except
                          (mailsync-gnus--maildir-known scan))))))
      (dolist (file (mailsync-gnus--maildir-moving scan))
        (let ((name (if (string-match-p ":2," file) file
                      (concat file ":2,"))))
          (cond
           ((file-exists-p (concat directory name))
            (push name arrived))
           ;; One that is dated in the future is left there.
           ((file-exists-p (expand-file-name (concat "../new/" file)
                                             directory)))
           (t (throw 'unknown 'unknown)))))
      (mailsync-gnus--note-witness scan arrived)
      arrived)))

(defun mailsync-gnus--list-cur (scan directory arguments)
  "List all of DIRECTORY, the cur/ of the group of SCAN, as ARGUMENTS say."
  (let ((files (apply #'directory-files directory arguments)))
    (mailsync-gnus--note-witness scan files)
    files))

(defun mailsync-gnus--modified (directory)
  "When DIRECTORY was modified, in truth: its name has no slash at the end."
  (file-attribute-modification-time (file-attributes directory)))

(defun mailsync-gnus--with-cur-handler (scan)
  "The value of `file-name-handler-alist' for SCAN."
  (cons (cons (format "/%s/\\(?:cur\\|new\\)/\\'"
                      (regexp-quote (mailsync-gnus--real-name
                                     (mailsync-gnus--maildir-group scan))))
              (mailsync-gnus--cur-handler
               (lambda (directory attributes)
                 (if (equal "new" (mailsync-gnus--subdirectory directory))
                     (mailsync-gnus--with-modified
                      attributes (cl-decf mailsync-gnus--untrue))
                   (mailsync-gnus--tell-attributes scan attributes)))))
        file-name-handler-alist))

(defun mailsync-gnus--with-modified (attributes time)
  "A copy of ATTRIBUTES, with TIME for that of the modification."
  (setq attributes (copy-sequence attributes))
  (setf (nth 5 attributes) time)
  attributes)

(defun mailsync-gnus--cur-handler (tell)
  "A handler of the file name of cur/, or of new/.
It is there for the modification time only: TELL is called with the
name and the attributes of the directory, and says which to tell."
  (let ((handler nil))
    (setq handler
          (lambda (operation &rest arguments)
            (let* ((inhibit-file-name-handlers
                    (cons handler
                          (and (eq inhibit-file-name-operation operation)
                               inhibit-file-name-handlers)))
                   (inhibit-file-name-operation operation)
                   (value (apply operation arguments)))
              (if (and value (eq operation 'file-attributes))
                  (funcall tell (car arguments) value)
                value))))))

(defun mailsync-gnus--tell-attributes (scan attributes)
  "What to tell nnmaildir of the ATTRIBUTES of cur/ during SCAN."
  (let* ((known (mailsync-gnus--maildir-known scan))
         (modified (file-attribute-modification-time attributes))
         (same (and known
                    (equal modified (mailsync-gnus--cur-modified known))))
         (short (mailsync-gnus--maildir-short scan))
         (told (cond
                ((mailsync-gnus--maildir-whole scan)
                 (cl-decf mailsync-gnus--untrue))
                ((or short (and same (mailsync-gnus--cur-except known)))
                 (setq short t)
                 (cl-decf mailsync-gnus--untrue))
                ;; As it was when nnmaildir was told something else.
                (same (mailsync-gnus--cur-told known))
                (t modified))))
    (setf (mailsync-gnus--maildir-short scan) short)
    (setf (mailsync-gnus--maildir-modified scan) modified
          (mailsync-gnus--maildir-told scan) told)
    (if (equal told modified)
        attributes
      (mailsync-gnus--with-modified attributes told))))

;;;; What Gnus has nnmaildir scan

(defun mailsync-gnus--noting-scan (function &optional name server)
  "Call FUNCTION, nnmaildir's own scan, and note what it will know.
NAME is that of a group of SERVER, or nil for all of them; with
anything else it does not look at messages."
  (if (or mailsync-gnus--helping
          (not (or (null name) (stringp name))))
      (funcall function name server)
    (let* ((looked nil)
           (modified nil)
           (file-name-handler-alist
            (cons (cons "/cur/\\'"
                        (mailsync-gnus--cur-handler
                         (lambda (directory attributes)
                           ;; Another server may show the same directory.
                           (let ((key (cons server directory)))
                             (if (not (equal directory looked))
                                 (progn
                                   (setq looked directory)
                                   (puthash key 'unfinished
                                            mailsync-gnus--scanned))
                               ;; The second time it is about to be listed,
                               ;; if need be.
                               (push (cons key (file-attribute-modification-time
                                                attributes))
                                     modified)))
                           attributes)))
                  file-name-handler-alist)))
      (prog1 (funcall function name server)
        (pcase-dolist (`(,key . ,time) modified)
          (puthash key time mailsync-gnus--scanned))))))

(defun mailsync-gnus--scanned (group method &optional forget)
  "When cur/ of GROUP had been modified before METHOD last scanned it, or nil.
Nil if that was by our scan, `unfinished' if it was broken off.
FORGET non-nil means to forget that."
  (let ((key (cons (nth 1 method)
                   (concat (mailsync-gnus--nnmaildir-directory group method)
                           "/cur/"))))
    (prog1 (gethash key mailsync-gnus--scanned)
      (when forget (remhash key mailsync-gnus--scanned)))))

;;;; A long list in pieces

;; While the user types, a long list of cur/ is looked through ahead of the
;; scan, a piece between two keys.  If cur/ is the same when that is done,
;; the scan need not be shown the rest.

(defun mailsync-gnus--look-ahead (group method)
  "Look through a piece of the list of cur/ of GROUP of METHOD, if need be.
Return nil when it may be scanned."
  (let ((known (mailsync-gnus--known-cur group method))
        (active (mailsync-gnus--active group))
        (directory (mailsync-gnus--nnmaildir-directory group method)))
    (if (and mailsync-gnus--hurry known active directory
             (< mailsync-gnus--long (- (cdr active) (car active)))
             (mailsync-gnus--helped-p group method))
        (mailsync-gnus--look-ahead-1 group method known
                                     (concat directory "/cur"))
      (remhash group mailsync-gnus--ahead)
      nil)))

(defun mailsync-gnus--look-ahead-1 (group method known cur)
  "Do what `mailsync-gnus--look-ahead' does in the directory CUR.
KNOWN is what nnmaildir, the METHOD of GROUP, knew of it."
  (let ((modified (mailsync-gnus--modified cur))
        (ahead (gethash group mailsync-gnus--ahead)))
    (cond
     ((equal modified (mailsync-gnus--cur-modified known))
      (remhash group mailsync-gnus--ahead)
      nil)
     ((and ahead (equal modified (car ahead)))
      (if (mailsync-gnus--look-at-piece group method ahead)
          t
        (remhash group mailsync-gnus--ahead)
        (setf (mailsync-gnus--cur-modified known) modified
              (mailsync-gnus--cur-except known) (list (nth 2 ahead)))
        nil))
     ;; It changes all the time.
     ((and ahead (>= (nth 3 ahead) mailsync-gnus--ahead-max))
      (remhash group mailsync-gnus--ahead)
      nil)
     (t
      (puthash group
               (list modified (directory-files cur nil "\\`[^.]" t) nil
                     (1+ (or (nth 3 ahead) 0)))
               mailsync-gnus--ahead)))))

(defun mailsync-gnus--look-at-piece (group method ahead)
  "Look at some of the names of AHEAD, for GROUP of METHOD.
Return non-nil if there are more."
  (let ((end (+ (float-time) mailsync-gnus--piece))
        (name (mailsync-gnus--real-name group))
        (server (nth 1 method)))
    (while (progn
             ;; To ask for the time, too, takes time.
             (cl-loop repeat 100
                      for file = (pop (nth 1 ahead))
                      while file
                      unless (nnmaildir-base-name-to-article-number
                              (mailsync-gnus--base-name file) name server)
                      do (push file (nth 2 ahead)))
             (and (nth 1 ahead) (< (float-time) end))))
    (nth 1 ahead)))

;;;; Flags

(defun mailsync-gnus--helping-look (group method function)
  "Call FUNCTION, which looks at the flags of GROUP of METHOD."
  (declare (indent 2))
  (if (not (mailsync-gnus--helped-p group method))
      (funcall function)
    (let* ((flags nil)
           (mailsync-gnus--directory-files
            (lambda (directory &optional full match nosort)
              (let ((flag (and (not full)
                               (equal "cur" (mailsync-gnus--subdirectory
                                             directory))
                               (mailsync-gnus--flag-looked-for match))))
                (if (not flag)
                    (directory-files directory full match nosort)
                  ;; Not before nnmaildir has noted when cur/ had been
                  ;; modified.
                  (unless flags
                    (setq flags (mailsync-gnus--flags directory)))
                  (aref flags (- flag ?A))))))
           (gnus-parameters
            (cons '("" (directory-files . mailsync-gnus--directory-files))
                  gnus-parameters))
           (file-name-handler-alist
            (if (mailsync-gnus--doubted-p group)
                (mailsync-gnus--with-cur-handler
                 (mailsync-gnus--make-maildir :group group :whole t))
              file-name-handler-alist)))
      (prog1 (funcall function)
        (remhash group mailsync-gnus--doubted)
        (puthash group (cdr (mailsync-gnus--active group))
                 mailsync-gnus--looked)))))

(defun mailsync-gnus--doubted-p (group)
  "Non-nil if a look at the flags of GROUP has to be one.
nnmaildir ignores the flags of a file that it has no number for, and
remembers that it has seen this modification of cur/.  So where there
are numbers that are newer than the last look, Gnus may have looked
between their arrival and the scan that found them."
  (or (gethash group mailsync-gnus--doubted)
      (not (eql (gethash group mailsync-gnus--looked)
                (cdr (mailsync-gnus--active group))))))

(defun mailsync-gnus--flag-looked-for (match)
  "The flag whose messages MATCH matches, nil if it is something else."
  (let ((prefix "\\`[^.].*:2,[A-Z]*"))
    (and (stringp match)
         (= (length match) (1+ (length prefix)))
         (string-prefix-p prefix match)
         (<= ?A (aref match (length prefix)) ?Z)
         (aref match (length prefix)))))

(defun mailsync-gnus--flags (directory)
  "The names in DIRECTORY, a cur/, with each of the flags A to Z, a vector."
  (let ((flags (make-vector 26 nil))
        (case-fold-search nil))
    (save-match-data
      (dolist (name (directory-files directory nil "\\`[^.].*:2,[A-Z]" t))
        (string-match ":2,[A-Z]+" name)
        (let ((at (+ 3 (match-beginning 0)))
              (end (match-end 0)))
          (while (< at end)
            (let ((index (- (aref name at) ?A)))
              (unless (eq name (car (aref flags index)))
                (aset flags index (cons name (aref flags index)))))
            (setq at (1+ at))))))
    flags))

;;;; What nnmaildir knows

(defun mailsync-gnus--known-cur (group method)
  "What nnmaildir, the METHOD of GROUP, knows of its cur/, or nil.
Whether it still does, a message of the group tells: when the
server was closed, or Gnus, it knows none."
  (pcase (mailsync-gnus--scanned group method t)
    ('nil)
    ;; Where nnmaildir had forgotten the group it may know a part of it.
    ('unfinished (remhash group mailsync-gnus--known))
    (modified
     (puthash group
              (mailsync-gnus--make-cur
               :modified modified :told modified
               :witness (or (mailsync-gnus--last-message group method)
                            (when-let* ((cur (gethash group mailsync-gnus--known)))
                              (mailsync-gnus--cur-witness cur))))
              mailsync-gnus--known)))
  (when-let* ((cur (gethash group mailsync-gnus--known)))
    (and (mailsync-gnus--witness-p (mailsync-gnus--cur-witness cur)
                                   group method)
         cur)))

(defun mailsync-gnus--witness-p (witness group method)
  "Non-nil if the METHOD of GROUP knows the message with the base name WITNESS."
  (and witness
       (fboundp 'nnmaildir-base-name-to-article-number)
       (nnmaildir-base-name-to-article-number
        witness (mailsync-gnus--real-name group) (nth 1 method))))

(defun mailsync-gnus--base-name (file)
  "The part of the name FILE that stays when its flags change."
  (substring file 0 (string-search ":" file)))

(defun mailsync-gnus--note-witness (scan files)
  "Note a message that nnmaildir will know after SCAN, of FILES in cur/."
  (when files
    (setf (mailsync-gnus--maildir-witness scan)
          (mailsync-gnus--base-name (car files)))))

(defun mailsync-gnus--last-message (group method)
  "The base name of the last message of GROUP that METHOD knows, or nil."
  (when-let* ((active (mailsync-gnus--active group)))
    (and (fboundp 'nnmaildir-article-number-to-base-name)
         ;; With its suffix.
         (car (nnmaildir-article-number-to-base-name
               (cdr active) (mailsync-gnus--real-name group)
               (nth 1 method))))))

(defun mailsync-gnus--note-cur (scan method)
  "Note what nnmaildir, the METHOD, knows after SCAN."
  (let* ((group (mailsync-gnus--maildir-group scan))
         (known (mailsync-gnus--maildir-known scan))
         (witness (or (mailsync-gnus--maildir-witness scan)
                      (and known (mailsync-gnus--cur-witness known))
                      (mailsync-gnus--last-message group method))))
    (when (and (mailsync-gnus--maildir-modified scan)
               (mailsync-gnus--witness-p witness group method))
      (puthash group
               (mailsync-gnus--make-cur
                :modified (mailsync-gnus--maildir-modified scan)
                :told (mailsync-gnus--maildir-told scan)
                :witness witness)
               mailsync-gnus--known))))

;;;; A few at a time

(defun mailsync-gnus--few-arrivals (scan directory files)
  "The FILES in DIRECTORY, a new/, that nnmaildir is to take in during SCAN."
  (let ((limit (if mailsync-gnus--hurry
                   mailsync-gnus--arrivals-max-in-hurry
                 mailsync-gnus--arrivals-max)))
    (if (not (nthcdr limit files))
        files
      (let ((oldest (mailsync-gnus--oldest (mailsync-gnus--maildir-group scan)
                                           directory (copy-sequence files)
                                           limit)))
        (when (< (length oldest) (length files))
          (funcall (mailsync-gnus--maildir-more scan)))
        oldest))))

(defun mailsync-gnus--oldest (group directory files limit)
  "The oldest of FILES in DIRECTORY, that of new messages of GROUP.
LIMIT of them, or all if what was given to nnmaildir the last
time is still there: then something keeps it from taking in its
messages little by little."
  (let* ((partial (or (gethash group mailsync-gnus--partial)
                      (puthash group (cons nil nil) mailsync-gnus--partial)))
         (rest (sort files #'string<))
         (oldest nil)
         (counted nil))
    (if (cl-some (lambda (file) (member file rest)) (cdr partial))
        rest
      (while (and rest (< (length counted) limit))
        (let ((file (pop rest)))
          (push file oldest)
          ;; It waits with a file that is dated in the future.
          (unless (time-less-p nil (file-attribute-modification-time
                                    (file-attributes
                                     (expand-file-name file directory))))
            (push file counted))))
      (setcdr partial counted)
      oldest)))

;;;; Coming and going

(defun mailsync-gnus--numbered-p (_group article)
  "Non-nil if nnmaildir knows ARTICLE, and so can forget it."
  (nnmaildir--art-num article))

(defun mailsync-gnus--maildir-setup ()
  "Begin to note what Gnus has nnmaildir scan."
  (advice-add 'nnmaildir-request-scan :around #'mailsync-gnus--noting-scan)
  (advice-add 'nnmaildir--expired-article :before-while #'mailsync-gnus--numbered-p))

(defun mailsync-gnus--maildir-teardown ()
  "Note nothing any more, and forget what was noted."
  (advice-remove 'nnmaildir-request-scan #'mailsync-gnus--noting-scan)
  (advice-remove 'nnmaildir--expired-article #'mailsync-gnus--numbered-p)
  (clrhash mailsync-gnus--scanned))

(provide 'mailsync-gnus-maildir)
;;; mailsync-gnus-maildir.el ends here
